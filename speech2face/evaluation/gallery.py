"""The gallery of an evaluation: some people, the faces drawn of them, and the photos that were retrieved."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from speech2face.evaluation.evaluation import Evaluation, Material
from speech2face.evaluation.retrieval import top
from speech2face.inference import sheets
from speech2face.inference.page import SIDE, recording_data
from speech2face.preprocessing.photo import open_image

SHOWN = 12  # people
RETRIEVED = 5
FRAME, RIGHT = 8, "#2e9e4f"  # of the right person among the retrieved


@dataclass
class Line:
    """A person of the gallery.

    rank: of the right photo, 1 the nearest. cells: (caption, picture (height, width, 3), whether the right one).

    clip: the recording as a data URI, or "".
    """

    person: str
    rank: int
    cells: list[tuple[str, np.ndarray, bool]]
    clip: str = ""


def lines(material: Material, evaluation: Evaluation, modality: str, play: bool) -> list[Line]:
    """At most SHOWN people, evenly spaced among those whose faces are drawn. play: with a clip of the recording."""
    shown = np.linspace(0, len(evaluation.pictured) - 1, min(SHOWN, len(evaluation.pictured))).astype(int)
    queries = evaluation.pictured[shown]
    nearest = top(material.embeddings[queries], material.gallery, min(RETRIEVED, len(material.people)))
    outcome = evaluation.outcomes["encoder"]
    query = "voice" if modality == "speech" else "other photo"

    def photo_of(row: int) -> np.ndarray:
        return np.asarray(open_image(material.dataset.root / material.photos[row]))

    found = []
    for i, number, rows in zip(shown, queries, nearest, strict=True):
        true = int(material.rows[number])
        cells = [
            ("photo", photo_of(true), False),
            ("drawn from the photo", evaluation.from_photos.images[i], False),
            (f"drawn from the {query}", outcome.faces.images[i], False),
        ]
        for place, row in enumerate(rows.tolist(), 1):
            name = "right person" if row == true else material.people[row]
            cells.append((f"{place}. {name}", photo_of(row), row == true))
        clip = recording_data(material.dataset.root / material.queries[number]) if play and modality == "speech" else ""
        found.append(Line(material.people[true], int(outcome.ranks["cosine"][number]), cells, clip))
    return found


def sheet(found: Sequence[Line], title: str) -> Image.Image:
    """The gallery as one picture; the right person among the retrieved has a green frame."""
    rows = [
        (f"{line.person}, place {line.rank}", [framed(picture, right) for _, picture, right in line.cells])
        for line in found
    ]
    first = [caption for caption, *_ in found[0].cells[:3]]
    columns = first + [f"{place}. nearest photo, green: right" for place in range(1, len(found[0].cells) - 2)]
    return sheets.table(rows, [", ".join(_halves(one)) for one in columns], title)


def _halves(text: str) -> list[str]:
    return text.split(", ") if ", " in text else text.rsplit(" ", 1) if len(text) > 18 else [text]


def framed(picture: np.ndarray, right: bool) -> np.ndarray:
    """A picture (height, width, 3) in a square of SIDE pixels, on white; with a green frame if it is the right one."""
    whole = ImageOps.pad(Image.fromarray(picture), (SIDE, SIDE), Image.Resampling.BICUBIC, "#ffffff")
    if right:
        inner = whole.resize((SIDE - 2 * FRAME, SIDE - 2 * FRAME), Image.Resampling.BICUBIC)
        whole = ImageOps.expand(inner, FRAME, RIGHT)
    return np.asarray(whole)
