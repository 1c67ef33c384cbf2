"""The options of pipeline=export and pipeline=publish; see speech2face.config.options."""

from dataclasses import dataclass
from typing import Annotated, Literal

from speech2face.config.base import Options
from speech2face.config.describe import says
from speech2face.weights.part import Part


@dataclass(kw_only=True, frozen=True)
class Export(Options):
    """Write front end, encoder and decoder as one graph that runs without this program."""

    own_directory = True
    encoder: Part
    decoder: Part
    format: Annotated[Literal["onnx", "torch"], says("model.onnx, or model.pt2 of torch.export")] = "onnx"
