"""report.html: counts, histograms, sample faces and problems of a dataset, on one self-contained page."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from speech2face.decoders.landmarks import LANDMARK_PARTS
from speech2face.files import atomic
from speech2face.inference.page import SECONDS, drawn, picture_data, plot_data, recording_data, render
from speech2face.inference.pictures import draw_landmarks
from speech2face.preprocessing.faces import points_in_crop

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 32  # faces on the page, of as many people
LISTED = 2000  # problems on the page
PREVIEWED = 12  # files of each kind of problem that are shown or can be played
FACE = 336  # pixels, twice what the page shows, for fine screens
COLOUR = "#2f6f8f"


@dataclass(frozen=True)
class Problem:
    """A problem of a dataset.

    kind: "cannot be used", "duplicate", "to be looked at", "no recording" or "no photo". where: the file or the person.
    what: in words. crop: path of the face, "" if there is none. recording: whether `where` is a recording.
    """

    kind: str
    where: str
    what: str
    crop: str = ""
    recording: bool = False


def write_report(
    root: Path, tables: dict[str, pa.Table], splits: dict[str, str], statistics: dict[str, float | None]
) -> int:
    """Write <root>/prepared/report.html and return the number of problems.

    tables: the manifest by kind ("clips", "faces"). splits: by person. statistics: see finish.fbank_statistics.
    """
    clips, faces = tables["clips"], tables["faces"]
    problems = list_problems(tables, splits)
    figure = plot(clips, faces)
    page = render(
        Path(__file__).parent / "templates" / "report.html",
        name=root.name,
        overview=overview(clips, faces, splits),
        plots=plot_data(drawn(figure)) if figure else "",
        statistics=statistics,
        faces=samples(root, faces),
        landmarks=pc.any(pc.is_valid(faces["landmarks"])).as_py(),
        problems=problems,
        counts=Counter(problem.kind for problem in problems).most_common(),
        listed=LISTED,
        previews=previews(root, problems),
        seconds=round(SECONDS),
    )
    with atomic(root / "prepared" / "report.html") as partial:
        partial.write_text(page, encoding="utf-8", errors="replace")
    return len(problems)


def list_problems(tables: dict[str, pa.Table], splits: dict[str, str]) -> list[Problem]:
    """The problems of a dataset, files that cannot be used first."""
    found = []
    for name in ("clips", "faces"):
        columns = ("path", "status", "problem", *(["crop"] if name == "faces" else []))
        for row in tables[name].select(columns).filter(pc.is_valid(tables[name]["problem"])).to_pylist():
            kind = {"failed": "cannot be used", "duplicate": "duplicate"}.get(row["status"], "to be looked at")
            found.append(Problem(kind, row["path"], row["problem"], row.get("crop") or "", name == "clips"))
    for name, lacking in (("clips", "no recording"), ("faces", "no photo")):
        good = tables[name].filter(pc.equal(tables[name]["status"], "ok"))
        have = set(pc.unique(good["person"]).to_pylist())
        found += [Problem(lacking, person, f"{lacking} that can be used") for person in sorted(splits.keys() - have)]
    order = ("cannot be used", "duplicate", "to be looked at")
    return sorted(found, key=lambda one: order.index(one.kind) if one.kind in order else len(order))


def previews(root: Path, problems: Sequence[Problem]) -> dict[str, str]:
    """Data URIs of the face, by its path, or of the recording, for the first problems of each kind."""
    found: dict[str, str] = {}
    left = Counter({(one.kind, one.recording): PREVIEWED for one in problems})
    for one in problems[:LISTED]:
        if left[one.kind, one.recording] and (one.crop or one.recording):
            data = picture_data(read_crop(root / one.crop)) if one.crop else recording_data(root / one.where)
            found |= {one.crop or one.where: data} if data else {}
            left[one.kind, one.recording] -= 1
    return found


def read_crop(path: Path) -> np.ndarray:
    """A face that preparation has written, (224, 224, 3) uint8."""
    with Image.open(path) as file:
        return np.asarray(file.convert("RGB"))


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


def samples(root: Path, faces: pa.Table) -> list[tuple[str, str]]:
    """People, evenly spaced among all, with a face crop each as a data URI. Landmarks are drawn on it."""
    good = faces.select(("person", "status", "crop", "box", "landmarks"))
    good = good.filter(pc.and_(pc.equal(good["status"], "ok"), pc.is_valid(good["crop"])))
    _, first = np.unique(np.array(good["person"].to_pylist()), return_index=True)
    first = first[np.unique(np.linspace(0, len(first) - 1, SHOWN).round().astype(int))] if len(first) else first
    found = []
    for row in good.take(first).to_pylist():
        crop = read_crop(root / row["crop"])
        if row["landmarks"]:
            points = np.array(row["landmarks"], np.float32).reshape(-1, 2)
            crop = draw_landmarks(crop, points_in_crop(points, row["box"], crop.shape[1]), LANDMARK_PARTS)
        found.append((row["person"], picture_data(np.asarray(crop), FACE)))
    return found


def plot(clips: pa.Table, faces: pa.Table) -> "Figure | None":
    """Histograms of what there is: durations, levels and speech of recordings, files per person, sizes of photos."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    clips, faces = (one.filter(pc.equal(one["status"], "ok")) for one in (clips, faces))
    panels = {
        "recordings by duration, s": clips["seconds"].to_numpy(),
        "recordings by level, dBFS": clips["level_dbfs"].to_numpy(),
        "recordings by share of speech": clips["speech_share"].to_numpy(),
        "people by recordings": _counts(clips),
        "people by photos": _counts(faces),
        "photos by shorter side, pixels": np.minimum(faces["width"], faces["height"]),
    }
    panels = {title: values for title, values in panels.items() if len(values)}
    if not panels:
        return None
    figure = Figure((10, 2.5 * -(-len(panels) // 3)), layout="constrained")
    for axis, (title, values) in zip(figure.subplots(-(-len(panels) // 3), 3).flat, panels.items(), strict=False):
        bins = min(40, max(5, len(values) // 5))
        if title.startswith("people") and np.ptp(values) < 40:
            bins = np.arange(values.min(), values.max() + 2) - 0.5
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
        elif "share" in title:
            bins = np.linspace(0, 1, 21)
        elif values.min() > 0 and values.max() > 20 * values.min():
            bins = np.geomspace(values.min(), values.max(), bins)
            axis.set_xscale("log")
            axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.hist(values, bins=bins, color=COLOUR, edgecolor="white", linewidth=0.4)
        if np.ptp(values) == 0 and "share" not in title:
            axis.set_xticks(values[:1])
        axis.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        axis.set_title(title, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in figure.axes[len(panels) :]:
        axis.remove()
    return figure


def _counts(table: pa.Table) -> np.ndarray:
    return pc.value_counts(table["person"]).field("counts").to_numpy()
