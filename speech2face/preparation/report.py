"""report.html: counts, histograms, sample faces and problems of a dataset, on one self-contained page."""

import base64
import html
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from speech2face.decoders.landmarks import LANDMARK_PARTS
from speech2face.files import atomic
from speech2face.inference.pictures import draw_landmarks
from speech2face.preprocessing.faces import points_in_crop

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 32  # faces on the page, of as many people
LISTED = 2000  # problems on the page
COLOUR = "#2f6f8f"
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2733; max-width: 1100px; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse; margin: 1em 0 } td, th { padding: .2em .8em; text-align: left; vertical-align: top }
th { border-bottom: 1px solid #9aa5b1 } td.n { text-align: right } tr:nth-child(even) { background: #f3f5f7 }
td { overflow-wrap: anywhere } img { max-width: 100% } figure { display: inline-block; margin: .3em; width: 112px }
figure img { width: 112px; height: 112px; border-radius: 6px } figcaption { font-size: 11px; overflow-wrap: anywhere }
"""


def write_report(
    root: Path, tables: dict[str, pa.Table], splits: dict[str, str], statistics: dict[str, float | None]
) -> int:
    """Write <root>/prepared/report.html and return the number of problems.

    tables: the manifest by kind ("clips", "faces"). splits: by person. statistics: see finish.fbank_statistics.
    """
    clips, faces = tables["clips"], tables["faces"]
    problems = list_problems(tables, splits)
    parts = [
        f"<h1>{html.escape(root.name)}</h1>",
        "<h2>Contents</h2>",
        table(("", "train", "val", "test", "all"), overview(clips, faces, splits)),
        picture(plot(clips, faces)),
        f"<p>Log-mel energies of {statistics['recordings']} recordings: mean {statistics['mean']}, deviation "
        f"{statistics['std']} (<code>preprocessing.features.mean</code>, <code>.std</code>).</p>"
        if statistics["recordings"]
        else "",
        "<h2>Face crops</h2>",
        *samples(root, faces),
        f"<h2>Problems: {len(problems)}</h2>",
        table(("what", "how often"), Counter(kind for kind, _, _ in problems).most_common()),
        table(("file or person", "problem"), [(where, what) for _, where, what in problems[:LISTED]]),
        f"<p>The first {LISTED} are listed; the manifest has all of them.</p>" if len(problems) > LISTED else "",
    ]
    page = f"<!doctype html><meta charset=utf-8><title>{html.escape(root.name)}</title><style>{STYLE}</style>"
    with atomic(root / "prepared" / "report.html") as partial:
        partial.write_text(page + "\n".join(parts), encoding="utf-8")
    return len(problems)


def list_problems(tables: dict[str, pa.Table], splits: dict[str, str]) -> list[tuple[str, str, str]]:
    """The problems of a dataset as (kind, file or person, description), files that cannot be used first."""
    found = []
    for name in ("clips", "faces"):
        rows = tables[name].select(("path", "status", "problem")).filter(pc.is_valid(tables[name]["problem"]))
        for row in rows.to_pylist():
            kind = {"failed": "cannot be used", "duplicate": "duplicate"}.get(row["status"], "to be looked at")
            found.append((kind, row["path"], row["problem"]))
    for name, lacking in (("clips", "no recording"), ("faces", "no photo")):
        good = tables[name].filter(pc.equal(tables[name]["status"], "ok"))
        have = set(pc.unique(good["person"]).to_pylist())
        found += [(lacking, person, f"{lacking} that can be used") for person in sorted(splits.keys() - have)]
    order = ("cannot be used", "duplicate", "to be looked at")
    return sorted(found, key=lambda problem: order.index(problem[0]) if problem[0] in order else len(order))


def overview(clips: pa.Table, faces: pa.Table, splits: dict[str, str]) -> list[tuple]:
    """Rows of the table of counts: a name, then the counts of train, val, test and all."""

    def row(name: str, values: Iterable[str], weights: np.ndarray | None = None, form: str = "{:,.0f}") -> tuple:
        values = np.array(list(values), dtype=object)
        weights = np.ones(len(values)) if weights is None else weights
        sums = [weights[values == split].sum() for split in ("train", "val", "test")]
        return (name, *(form.format(value) for value in (*sums, weights.sum())))

    good_clips = clips.filter(pc.equal(clips["status"], "ok"))
    good_faces = faces.filter(pc.equal(faces["status"], "ok"))
    rows = [row("people", splits.values())]
    sexes = {}
    for good in (good_clips, good_faces):
        if "sex" in good.column_names:
            sexes |= dict(zip(good["person"].to_pylist(), good["sex"].to_pylist(), strict=True))
    for sex in sorted({sex for sex in sexes.values() if sex}):
        rows.append(row(f"of them {sex}", (splits[person] for person, one in sexes.items() if one == sex)))
    rows.append(row("recordings", good_clips["split"].to_pylist()))
    hours = good_clips["seconds"].to_numpy() / 3600
    rows.append(row("hours of them", good_clips["split"].to_pylist(), hours, "{:,.2f}"))
    rows.append(row("photos", good_faces["split"].to_pylist()))
    return rows


def samples(root: Path, faces: pa.Table) -> list[str]:
    """HTML figures of one face crop per person, with landmarks. The people are evenly spaced among all."""
    good = faces.select(("person", "status", "crop", "box", "landmarks"))
    good = good.filter(pc.and_(pc.equal(good["status"], "ok"), pc.is_valid(good["crop"])))
    _, first = np.unique(np.array(good["person"].to_pylist()), return_index=True)
    first = first[np.unique(np.linspace(0, len(first) - 1, SHOWN).round().astype(int))] if len(first) else first
    figures = []
    for row in good.take(first).to_pylist():
        with Image.open(root / row["crop"]) as file:
            crop = file.convert("RGB")
        if row["landmarks"]:
            points = np.array(row["landmarks"], np.float32).reshape(-1, 2)
            points = points_in_crop(points, row["box"], crop.width)
            crop = draw_landmarks(np.asarray(crop), points, LANDMARK_PARTS)
        figures.append(
            f"<figure><img src='{_data(crop.resize((224, 224)), 'JPEG')}' alt=''>"
            f"<figcaption>{html.escape(row['person'])}</figcaption></figure>"
        )
    return figures


def plot(clips: pa.Table, faces: pa.Table) -> "Figure":
    """Histograms: durations, levels and speech of the recordings, files per person, sizes of the photos."""
    from matplotlib.figure import Figure

    clips, faces = (one.filter(pc.equal(one["status"], "ok")) for one in (clips, faces))
    panels = {
        "recordings by duration, s": clips["seconds"].to_numpy(),
        "recordings by level, dBFS": clips["level_dbfs"].to_numpy(),
        "recordings by share of speech": clips["speech_share"].to_numpy(),
        "people by recordings": _counts(clips),
        "people by photos": _counts(faces),
        "photos by shorter side, pixels": np.minimum(faces["width"], faces["height"]),
    }
    figure = Figure((10, 5), layout="constrained")
    for axis, (title, values) in zip(figure.subplots(2, 3).flat, panels.items(), strict=True):
        bins = min(40, max(5, len(values) // 5))
        if len(values) and values.min() > 0 and values.max() > 20 * values.min():
            bins = np.geomspace(values.min(), values.max(), bins)
            axis.set_xscale("log")
        axis.hist(values, bins=bins, color=COLOUR)
        axis.set_title(title, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _counts(table: pa.Table) -> np.ndarray:
    return pc.value_counts(table["person"]).field("counts").to_numpy()


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """An HTML table with its numbers aligned to the right."""

    def cell(value: object) -> str:
        number = str(value).replace(",", "").replace(".", "").isdigit()
        return f"<td{' class=n' * number}>{html.escape(str(value))}</td>"

    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def picture(figure: "Figure") -> str:
    """A matplotlib figure as an HTML image with its data inside."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return f"<img src='{_data(Image.open(buffer), 'PNG')}' alt='histograms'>"


def _data(image: Image.Image, form: str) -> str:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
