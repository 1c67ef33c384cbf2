"""The options of pipeline=serve; see speech2face.config.options."""

from dataclasses import dataclass, field
from typing import Annotated

from speech2face.config.base import Options, Sampling
from speech2face.config.describe import says
from speech2face.weights.part import Part


@dataclass(kw_only=True, frozen=True)
class Serve(Sampling, Options):
    """Show a page in the browser that reconstructs faces from a microphone, recordings and photos."""

    encoder: Part
    face: Part
    decoder: Part
    voices: Annotated[dict[str, Part], says("voice encoders shown beside `encoder`: +encoder@voices.NAME=NAME")] = (
        field(default_factory=dict)
    )
    samples: Annotated[int, says("further faces of each voice; 0: only the typical one", ge=0, le=16)] = 8
    port: Annotated[int, says("port of the page, on this computer alone (127.0.0.1)", ge=1, le=65535)] = 7860
    share: Annotated[bool, says("give the page a public address, too, through Gradio's servers")] = False
    keep: Annotated[str | None, says("directory for uploads and their results; null: nothing is kept")] = None
    max_megabytes: Annotated[int, says("largest file that can be uploaded, in MB", ge=1)] = 100
    workers: Annotated[int, says("inputs that are worked on at the same time; others wait", ge=1)] = 1
    waiting: Annotated[int, says("inputs that may wait; further ones are refused", ge=1)] = 20
