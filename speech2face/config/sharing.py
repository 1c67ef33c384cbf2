"""The options of pipeline=export and pipeline=publish; see speech2face.config.options."""

from dataclasses import dataclass
from typing import Annotated, Literal

from speech2face.config.base import OnePart, Options
from speech2face.config.describe import says
from speech2face.weights.part import Part


@dataclass(kw_only=True, frozen=True)
class Export(Options):
    """Write front end, encoder and decoder as one graph that runs without this program."""

    own_directory = True
    encoder: Part
    decoder: Part
    format: Annotated[Literal["onnx", "torch"], says("model.onnx, or model.pt2 of torch.export")] = "onnx"


@dataclass(kw_only=True, frozen=True)
class Publish(OnePart):
    """Push weights, with a card, to a repository of the Hugging Face hub."""

    repo: Annotated[str | None, says("repository of the hub, owner/name; it is made if there is none")] = None
    licence: Annotated[str | None, says("licence of the weights as the hub names it, such as cc-by-4.0")] = None
    evaluation: Annotated[str | None, says("directory of an evaluation whose metrics the card shows")] = None
    private: Annotated[bool, says("make a repository that only its owner sees")] = False
