"""Files of an evaluation: metrics.json, metrics.csv, queries.csv, plots.png, gallery.png."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speech2face.evaluation.evaluation import Evaluation, Material
from speech2face.evaluation.retrieval import DISTANCES, top
from speech2face.files import atomic, csv_line
from speech2face.inference import pictures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = dict[str, float | None]  # of the table of metrics, by column

SHOWN = 12  # people in the gallery
RETRIEVED = 5
INK, OWN, IDEAL, TRAITS, CHANCE = "#1d2733", "#2f6f8f", "#d98324", "#7a9e3a", "#9aa5b1"
OBSERVERS = {"encoder": (OWN, "encoder"), "ideal": (IDEAL, "ideal observer"), "traits": (TRAITS, "shared traits")}
# First parts of the names of the metrics that are logged and compared.
HEADLINES = (
    "retrieval/cosine/all",
    "association/verification",
    "embedding/",
    "face/",
    "craniofacial/mean",
    "consistency",
    "face_to_face",
)
COLUMNS = ("value", "low", "high", "chance", "ideal", "ideal_low", "ideal_high", "of_ideal", "traits")


def table(evaluation: Evaluation) -> dict[str, Row]:
    """Rows of all metrics of the encoder, by name: COLUMNS, None where undefined.

    value, low, high, chance: of the encoder. ideal, ideal_low, ideal_high: value and interval of the ideal observer.
    of_ideal: (value - chance) / (ideal - chance), None if chance lies within the ideal observer's interval. traits:
    value of the observer of shared traits.
    """
    outcomes = evaluation.outcomes
    rows = {}
    for name, own in outcomes["encoder"].metrics.items():
        ideal, traits = (outcomes[one].metrics.get(name) if one in outcomes else None for one in ("ideal", "traits"))
        row = asdict(own) | {"ideal": ideal and ideal.value, "ideal_low": ideal and ideal.low}
        above_chance = ideal and not ideal.low <= own.chance <= ideal.high
        share = (own.value - own.chance) / (ideal.value - own.chance) if above_chance else None
        row |= {"ideal_high": ideal and ideal.high, "of_ideal": share}
        row["traits"] = traits and traits.value
        rows[name] = {key: None if value is None or np.isnan(value) else value for key, value in row.items()}
    return rows


def write_report(
    directory: Path, material: Material, evaluation: Evaluation, about: dict[str, Any], warning: str | None
) -> dict[str, Row]:
    """Write all files of an evaluation to `directory`; returns the table of metrics.

    about: counts and published figures, which metrics.json lists before the metrics. warning: that weights are random,
    for the title of the gallery.
    """
    metrics = write_metrics(directory, evaluation, about)
    write_queries(directory, material, evaluation)
    with atomic(directory / "plots.png") as partial:
        plot(evaluation, metrics, len(material.people)).savefig(partial, format="png", dpi=110)
    write_gallery(directory, material, evaluation, warning)
    return metrics


def write_metrics(directory: Path, evaluation: Evaluation, about: dict[str, Any]) -> dict[str, Row]:
    """Write metrics.json, with `about` first, and metrics.csv; returns the table of metrics."""
    metrics = table(evaluation)
    with atomic(directory / "metrics.json") as partial:
        partial.write_text(json.dumps(about | {"judges": evaluation.judges, "metrics": metrics}, indent=2) + "\n")
    with atomic(directory / "metrics.csv") as partial, open(partial, "wb") as file:
        file.write(csv_line(["metric", *COLUMNS]))
        for name, row in metrics.items():
            file.write(csv_line([name, *(None if row[c] is None else f"{row[c]:.6g}" for c in COLUMNS)]))
    return metrics


def write_queries(directory: Path, material: Material, evaluation: Evaluation) -> None:
    """queries.csv: every query with the ranks of its true face, and true and predicted traits (column TRAIT_read)."""
    own = evaluation.outcomes["encoder"]
    read = own.read["embedding"]
    with atomic(directory / "queries.csv") as partial, open(partial, "wb") as file:
        file.write(csv_line(["query", "person", *(f"rank_{distance}" for distance in DISTANCES), *_pairs(read)]))
        for i, query in enumerate(material.queries):
            traits = [value for name in read for value in (evaluation.truth[name][i], _short(read[name][i]))]
            ranks = [own.ranks[distance][i] for distance in DISTANCES]
            file.write(csv_line([query, material.people[material.rows[i]], *ranks, *traits]))


def _pairs(names: Iterable[str]) -> list[str]:
    return [column for name in names for column in (name, f"{name}_read")]


def _short(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.5g}"


def write_gallery(directory: Path, material: Material, evaluation: Evaluation, warning: str | None) -> None:
    """gallery.png, a row per person: photo, faces drawn from photo and from query, photos nearest to the query."""
    shown = np.linspace(0, len(evaluation.pictured) - 1, min(SHOWN, len(evaluation.pictured))).astype(int)
    queries = evaluation.pictured[shown]
    nearest = top(material.embeddings[queries], material.gallery, min(RETRIEVED, len(material.people)))
    from_photos, from_queries = evaluation.from_photos.images, evaluation.outcomes["encoder"].faces.images
    rows = []
    for i, query, found in zip(shown, queries, nearest, strict=True):
        retrieved = [material.dataset.root / material.photos[row] for row in found]
        faces = [evaluation.photos[i], from_photos[i], from_queries[i]]
        rows.append((material.people[material.rows[query]], [*faces, *retrieved]))
    columns = ["original", "from the photo", "from the query"]
    columns += [f"retrieved {i + 1}" for i in range(nearest.shape[1])]
    with atomic(directory / "gallery.png") as partial:
        title = f"{len(rows)} of {len(material.people)} people" + (f"   {warning}" if warning else "")
        pictures.sheet(rows, columns, title).save(partial, "PNG")


def plot(evaluation: Evaluation, metrics: dict[str, Row], people: int) -> "Figure":
    """Recall curve, density of ranks, confusion of sex, scatter of age, attributes, craniofacial ratios."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 9), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    plot_recall(axes[0], evaluation, people)
    plot_ranks(axes[1], evaluation, people)
    plot_confusion(axes[2], evaluation)
    plot_scatter(axes[3], evaluation)
    read = {name: row for name, row in metrics.items() if name.startswith(("embedding/", "face/"))}
    plot_bars(axes[4], {name: row for name, row in read.items() if "error" not in name})
    axes[4].set_title("attributes: accuracy, correlation")
    plot_bars(axes[5], {name: row for name, row in metrics.items() if name.startswith("craniofacial/")})
    axes[5].set_title("craniofacial ratios: correlation")
    return figure


def plot_recall(axis: "Axes", evaluation: Evaluation, people: int) -> None:
    """Recall at K of every observer by the cosine distance, for K up to the number of people."""
    k = np.unique(np.geomspace(1, people, 60).astype(int))
    for name, outcome in evaluation.outcomes.items():
        colour, label = OBSERVERS[name]
        axis.plot(k, [(outcome.ranks["cosine"] <= one).mean() for one in k], color=colour, label=label)
    axis.plot(k, k / people, "--", color=CHANCE, label="chance")
    axis.set(xscale="log", xlabel="K", ylabel="recall at K", ylim=(0, 1.02), title=f"retrieval among {people} (cosine)")
    axis.legend()


def plot_ranks(axis: "Axes", evaluation: Evaluation, people: int) -> None:
    """Histogram of every observer's ranks of the true face by the cosine distance, in shares of the gallery."""
    edges = np.linspace(0, 1, 11)
    for name, outcome in evaluation.outcomes.items():
        colour, label = OBSERVERS[name]
        share = np.histogram((outcome.ranks["cosine"] - 0.5) / people, edges)[0] / len(outcome.ranks["cosine"])
        axis.stairs(10 * share, edges, color=colour, label=label, linewidth=1.8)
    axis.axhline(1, linestyle="--", color=CHANCE, label="chance")
    axis.set(xlabel="rank of the true face / people", ylabel="density", title="rank of the true face (cosine)")
    axis.legend()


def plot_confusion(axis: "Axes", evaluation: Evaluation) -> None:
    """Confusion matrix of sex, or of the first trait with classes, as read from the encoder's embeddings."""
    read = evaluation.outcomes["encoder"].read["embedding"]
    traits = [name for name, values in read.items() if values.dtype.kind == "U"]
    if not traits:
        axis.set_axis_off()
        return
    trait = "sex" if "sex" in traits else traits[0]
    truth, guess = evaluation.truth[trait], read[trait]
    classes = np.unique(np.concatenate([truth[truth != ""], guess]))
    counts = np.array([[((truth == a) & (guess == b)).sum() for b in classes] for a in classes])
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (i, j), share in np.ndenumerate(shares):
        axis.text(j, i, f"{share:.0%}\n{counts[i, j]}", ha="center", va="center", color="white" if share > 0.5 else INK)
    axis.set_xticks(range(len(classes)), classes, parse_math=False)
    axis.set_yticks(range(len(classes)), classes, parse_math=False)
    axis.set(xlabel="read from the embedding", ylabel="truth", title=trait)


def plot_scatter(axis: "Axes", evaluation: Evaluation) -> None:
    """True against predicted age, or the first trait with numbers, of the encoder and the ideal observer."""
    truths = evaluation.truth
    read = evaluation.outcomes["encoder"].read["embedding"]
    traits = [name for name in read if truths[name].dtype.kind != "U" and np.isfinite(truths[name]).any()]
    if not traits:
        axis.set_axis_off()
        return
    trait = "age" if "age" in traits else traits[0]
    truth = truths[trait]
    for name in [name for name in ("ideal", "encoder") if name in evaluation.outcomes]:
        colour, label = OBSERVERS[name]
        guess = evaluation.outcomes[name].read["embedding"][trait]
        axis.scatter(truth, guess, s=8, alpha=0.5, color=colour, label=label, linewidths=0)
    axis.axline((float(np.nanmean(truth)),) * 2, slope=1, color=CHANCE, linestyle="--")
    low, high = np.nanmin(truth), np.nanmax(truth)
    margin = 0.5 * (high - low)
    axis.set(xlabel="truth", ylabel="read from the embedding", title=trait, ylim=(low - margin, high + margin))
    axis.legend()


def plot_bars(axis: "Axes", metrics: dict[str, Row]) -> None:
    """Bars of metrics with intervals; marks at chance and at the ideal observer."""
    for i, row in enumerate(reversed(metrics.values())):
        if row["low"] is not None:
            axis.barh(i, row["value"], color=OWN, height=0.6)
            axis.plot([row["low"], row["high"]], [i, i], color=INK, linewidth=1.5)
        for key, colour in (("chance", CHANCE), ("ideal", IDEAL)):
            if row[key] is not None:
                axis.plot([row[key]] * 2, [i - 0.4, i + 0.4], color=colour, linewidth=3)
    labels = [name.partition("/")[2] if "craniofacial" in name else name for name in reversed(metrics)]
    axis.set_yticks(range(len(metrics)), labels)
    axis.axvline(0, color=INK, linewidth=0.5)


def plot_comparison(tables: list[dict[str, Row]], labels: list[str]) -> "Figure":
    """Metrics of several evaluations side by side, with intervals, chance and the ideal observer; those of HEADLINES.

    tables: of `write_report`, one per evaluation. labels: their names.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for table in tables for name in table if name.startswith(HEADLINES)))
    rows = -(-len(names) // 4)
    figure = Figure(figsize=(15, rows * (0.9 + 0.32 * len(labels)) + 0.6), layout="constrained")
    axes = figure.subplots(rows, 4, squeeze=False, sharey=True).ravel()
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    for axis, name in zip(axes, names, strict=False):
        for i, table in enumerate(tables):
            row = table.get(name)
            if not row or row["low"] is None:
                continue
            axis.barh(i, row["value"], color=OWN, height=0.7)
            axis.plot([row["low"], row["high"]], [i, i], color=INK)
            for key, colour in (("chance", CHANCE), ("ideal", IDEAL)):
                if row[key] is not None:
                    axis.plot([row[key]] * 2, [i - 0.45, i + 0.45], color=colour, linewidth=3, label=key)
        axis.set_title(name, fontsize=10)
        axis.set_yticks(range(len(labels)), labels, parse_math=False)
    axes[0].set_ylim(len(labels) - 0.5, -0.5)  # shared by all
    found = dict(zip(*reversed(axes[0].get_legend_handles_labels()), strict=True))
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=2)
    return figure
