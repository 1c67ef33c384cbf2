"""Answers -> HTML. Pictures are part of it, as data, so that a server stores nothing of an answer."""

import base64
import io
from collections.abc import Mapping
from html import escape
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from speech2face.decoders.landmarks import LANDMARK_PARTS
from speech2face.inference import pictures
from speech2face.inference.heard import LABELS
from speech2face.run.results import as_arrays, is_untrained, marks
from speech2face.web.answers import Answer

if TYPE_CHECKING:
    from PIL.PngImagePlugin import PngInfo

    from speech2face.inference.decoder import Face
    from speech2face.inference.estimates import Estimate

RECORDING = (440, 300)  # pixels of the picture of a recording
AGES = 100  # years on the scale of ages
UNTRAINED = "UNTRAINED: the weights are random, and the faces mean nothing."
NOT_A_LIKENESS = {
    "speech": "<b>This is not a likeness.</b> It is the average face of people who sound like this. "
    "A voice tells sex and age at best; all else is imagined.",
    "face": "<b>This is not a likeness.</b> It is drawn from what an encoder keeps of the photographed face. "
    "The rest is imagined.",
}


def error_html(message: str) -> str:
    """A line that says what is wrong with an upload."""
    return f'<div class="s2f-error" role="alert">{escape(message)}</div>'


def answer_html(answer: Answer) -> str:
    """Everything about an upload: the face, sex and age, samples, what was heard or seen, and downloads."""
    result, text = answer.result, marks(answer.digest, answer.weights)
    preview, samples = result.prepared.preview, result.faces.samples
    speech = "waveform" in preview
    face = _data(_marked(answer, result.faces.typical), text)
    parts = [
        f'<p class="s2f-note">{NOT_A_LIKENESS["speech" if speech else "face"]}</p>',
        f'<p class="s2f-error">{UNTRAINED}</p>' if is_untrained(answer.weights) else "",
        '<div class="s2f-top">',
        _face(answer, face, text),
        '<div class="s2f-facts">',
        _estimate(result.estimate, "Sounds" if speech else "Looks"),
        _heard(result.faces.heard) if result.faces.heard else "",
        "" if speech else _photo(preview),
        _warnings(result.prepared.warnings),
        _downloads(answer, face),
        "</div></div>",
    ]
    if samples:
        strip = (_figure(_data(_marked(answer, one), text), "an imagined face", "synthetic") for one in samples)
        heading = "Other faces that may go with this voice" if speech else "Other faces"
        parts.append(f'<h3>{heading}</h3><div class="s2f-strip">{"".join(strip)}</div>')
    parts.append(_recording(preview) if speech else "")
    return f'<div class="s2f">{"".join(parts)}</div>'


def comparison_html(answers: list[Answer]) -> str:
    """The faces that several encoders give to one recording, side by side."""
    columns = []
    for one in answers:
        face = _data(_marked(one, one.result.faces.typical), marks(one.digest, one.weights))
        name = escape(one.weights["encoder"]["choice"])
        told = f"<span>sounds {escape(str(one.result.estimate))}</span>" if str(one.result.estimate) else ""
        columns.append(f"<div>{_figure(face, f'the face by {name}', 'synthetic')}<b>{name}</b>{told}</div>")
    return f'<div class="s2f"><h3>Encoders side by side</h3><div class="s2f-columns">{"".join(columns)}</div></div>'


def npz(answer: Answer) -> bytes:
    """An answer as a file for numpy.load.

    embedding (4096,), image (height, width, 3) and landmarks (72, 2); of the samples samples_images, samples_landmarks,
    samples_scores and samples_embeddings; about: text fields that call the faces synthetic, as lines "name: value".
    """
    result, file = answer.result, io.BytesIO()
    arrays = {"embedding": result.embedding, "image": result.face}
    if result.landmarks is not None:
        arrays["landmarks"] = result.landmarks
    if result.faces.samples:
        arrays |= {f"samples_{name}": one for name, one in as_arrays(result.faces.samples).items()}
    lines = (one.partition(b"\0") for kind, one, *_ in marks(answer.digest, answer.weights).chunks)
    about = "\n".join(f"{name.decode()}: {value.lstrip(bytes(1)).decode()}" for name, _, value in lines)
    np.savez_compressed(file, about=np.array(about), **arrays)
    return file.getvalue()


def _marked(answer: Answer, face: "Face") -> np.ndarray:
    return pictures.mark_untrained(face.image) if is_untrained(answer.weights) else face.image


def _data(picture: np.ndarray | Image.Image, text: "PngInfo | None" = None) -> str:
    """A picture as the address of a PNG file that the address itself contains. text: its text fields."""
    if text:
        return _address(pictures.png(picture, text), "image/png")
    file = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(file, "PNG")
    return _address(file.getvalue(), "image/png")


def _address(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _figure(address: str, alt: str, label: str = "") -> str:
    mark = f"<figcaption>{label}</figcaption>" if label else ""
    return f'<figure><img src="{address}" alt="{escape(alt)}">{mark}</figure>'


def _face(answer: Answer, face: str, text: "PngInfo") -> str:
    """The face, and the box that shows its landmarks. The box needs no script and no server."""
    plain = _figure(face, "the reconstructed face", "synthetic, not a likeness")
    points = answer.result.landmarks
    if points is None:
        return f'<div class="s2f-face">{plain}</div>'
    drawn = pictures.draw_landmarks(_marked(answer, answer.result.faces.typical), points, LANDMARK_PARTS)
    dotted = _figure(_data(drawn, text), "the face with 72 landmarks", "synthetic, not a likeness")
    box = '<label><input type="checkbox" class="s2f-landmarks"> landmarks</label>'
    return (
        f'<div class="s2f-face">{box}<div class="s2f-plain">{plain}</div><div class="s2f-dotted">{dotted}</div></div>'
    )


def _estimate(told: "Estimate", verb: str) -> str:
    """Sex with its probability and age with its interval, as words and as bars."""
    lines = []
    if told.sex:
        share = 100 * (told.sex_probability or 0)
        sure = f"{share:.0f}" if share < 99 else "over 99"
        lines += [f"<p>{verb} <b>{told.sex}</b>, with a probability of {sure} %</p>", _bar(0, share)]
    if told.age is not None:
        low, high = told.age_low or 0.0, told.age_high or 0.0
        lines.append(
            f"<p>{verb} <b>{told.age:.0f} years</b> old; nine in ten such people are {low:.0f} to {high:.0f}</p>"
        )
        lines.append(_bar(100 * low / AGES, 100 * high / AGES, 100 * told.age / AGES))
        lines.append(f'<p class="s2f-scale"><span>0</span><span>{AGES} years</span></p>')
    return "".join(lines)


def _bar(start: float, end: float, at: float | None = None) -> str:
    """A bar from start to end, in percent of its ground, with a mark at `at`."""
    start, end = max(start, 0), min(end, 100)
    mark = f'<i style="left:{min(at, 99):.1f}%"></i>' if at is not None else ""
    return f'<div class="s2f-bar"><span style="left:{start:.1f}%;width:{end - start:.1f}%"></span>{mark}</div>'


def _warnings(warnings: list[str]) -> str:
    return "".join(f'<p class="s2f-warning">{escape(one)}</p>' for one in warnings)


def _downloads(answer: Answer, face: str) -> str:
    stem = escape(PurePath(answer.name).stem)
    numbers = _address(npz(answer), "application/octet-stream")
    return (
        f'<p class="s2f-downloads"><a download="{stem}_synthetic.png" href="{face}">Face (PNG)</a>'
        f'<a download="{stem}_synthetic.npz" href="{numbers}">Numbers (NPZ)</a></p>'
    )


def _heard(shares: Mapping[str, float]) -> str:
    rows = "".join(
        f"<div><p>{LABELS.get(name, escape(name))}: {share:.0%} heard</p>{_bar(0, 100 * share)}</div>"
        for name, share in shares.items()
    )
    return (
        "<h3>Heard and imagined</h3><p>The dark part of a bar is what the voice tells about a face. "
        f'The rest is imagined.</p><div class="s2f-shares">{rows}</div>'
    )


def _recording(preview: Mapping[str, Any]) -> str:
    drawn = pictures.draw_recording(preview, *RECORDING, pictures.PAPER)
    told = escape(pictures.describe_recording(preview))
    return f'<h3>What was heard</h3><p>{told}</p><div class="s2f-recording">{_figure(_data(drawn), told)}</div>'


def _photo(preview: Mapping[str, Any]) -> str:
    photo = Image.fromarray(np.array(preview["photo"]))
    corners = [tuple(corner) for corner in preview["outline"].tolist()]
    ImageDraw.Draw(photo).polygon(corners, outline="#ffd166", width=max(2, photo.width // 120))
    seen = _figure(_data(photo), "the photo") + _figure(_data(preview["crop"]), "what the encoder sees")
    told = "The photo, and the part of it that the encoder sees"
    return f'<h3>What was seen</h3><p>{told}</p><div class="s2f-photo">{seen}</div>'
