"""Self-contained pages of HTML: templates filled in, with pictures and recordings inside. Pixels are RGB uint8."""

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from speech2face.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"
SIDE = 168  # pixels of a picture
SECONDS = 4.0  # of a recording that is played
RATE = 16_000


def render(template: Path, **values: Any) -> str:
    """Fill in a template, which may extend base.html. All texts are escaped; no line breaks before a percent sign."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([template.parent, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template.name).render(**values).replace(" %", "\u00a0%")


def drawn(figure: "Figure") -> bytes:
    """A figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def plot_data(plot: bytes) -> str:
    """A PNG file as a data URI."""
    return _uri("image/png", plot)


def picture_data(picture: np.ndarray, side: int = SIDE) -> str:
    """A picture (height, width, 3) as the data URI of a JPEG of at most `side` pixels."""
    image = Image.fromarray(picture)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return _uri("image/jpeg", buffer.getvalue())


def recording_data(recording: Path) -> str:
    """The first SECONDS of a recording as the data URI of an MP3 file; "" if it cannot be read."""
    from speech2face.preprocessing.channel import LOSSY, encode
    from speech2face.preprocessing.decode import decode

    try:
        waveform = decode(recording, RATE, max_seconds=SECONDS).waveform
    except UserError:
        return ""
    return _uri("audio/mpeg", encode(waveform, *LOSSY["mp3"]))


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
