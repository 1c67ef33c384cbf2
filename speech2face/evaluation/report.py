"""What an evaluation leaves: metrics.json, tables, plots, a gallery."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from speech2face import pictures
from speech2face.evaluation.evaluation import Evaluation, Material
from speech2face.evaluation.retrieval import METRICS, top
from speech2face.files import atomic
from speech2face.results import csv_line

SHOWN = 12  # people in the gallery
RETRIEVED = 5
INK, OWN, IDEAL, TRAITS, CHANCE = "#1d2733", "#2f6f8f", "#d98324", "#7a9e3a", "#9aa5b1"
LISTENERS = {"encoder": (OWN, "encoder"), "ideal": (IDEAL, "ideal listener"), "traits": (TRAITS, "shared traits")}
# Beginnings of the names of the figures that are asked for first.
HEADLINES = ("retrieval/cosine/all", "feature/", "face/", "craniofacial/mean", "consistency", "face_to_face")
COLUMNS = ("value", "low", "high", "chance", "ideal", "ideal_low", "ideal_high", "of_ideal", "traits")


def table(evaluation: Evaluation) -> dict[str, dict[str, float | None]]:
    """Every figure of the encoder: with interval and chance, and beside it the ideal listener's, the share of that, and
    the figure of who knows the shared traits exactly; None where there is no such listener."""
    outcomes = evaluation.outcomes
    rows = {}
    for name, own in outcomes["encoder"].figures.items():
        ideal, traits = (outcomes[who].figures.get(name) if who in outcomes else None for who in ("ideal", "traits"))
        row = asdict(own) | {"ideal": ideal and ideal.value, "ideal_low": ideal and ideal.low}
        heard = ideal and not ideal.low <= own.chance <= ideal.high  # else there is nothing to have a share of
        share = (own.value - own.chance) / (ideal.value - own.chance) if heard else None
        row |= {"ideal_high": ideal and ideal.high, "of_ideal": share}
        row["traits"] = traits and traits.value
        rows[name] = {key: None if value is None or np.isnan(value) else value for key, value in row.items()}
    return rows


def write_report(
    directory: Path, material: Material, evaluation: Evaluation, about: dict[str, Any], untrained: list[str]
) -> dict[str, Any]:
    """Write metrics.json, metrics.csv, queries.csv, plots.png and gallery.png; returns the table of figures."""
    figures = table(evaluation)
    with atomic(directory / "metrics.json") as partial:
        partial.write_text(json.dumps(about | {"figures": figures}, indent=2) + "\n")
    with atomic(directory / "metrics.csv") as partial, open(partial, "wb") as file:
        file.write(csv_line(["figure", *COLUMNS]))
        for name, row in figures.items():
            file.write(csv_line([name, *(None if row[c] is None else f"{row[c]:.6g}" for c in COLUMNS)]))
    write_queries(directory, material, evaluation)
    with atomic(directory / "plots.png") as partial:
        plot(evaluation, figures, len(material.people)).savefig(partial, format="png", dpi=110)
    write_gallery(directory, material, evaluation, untrained)
    return figures


def write_queries(directory: Path, material: Material, evaluation: Evaluation) -> None:
    """queries.csv: every query with its ranks, and what the probes read in its feature against the truth."""
    own = evaluation.outcomes["encoder"]
    read = own.read["feature"]
    with atomic(directory / "queries.csv") as partial, open(partial, "wb") as file:
        file.write(csv_line(["query", "person", *(f"rank_{metric}" for metric in METRICS), *_pairs(read)]))
        for i, query in enumerate(material.queries):
            traits = [value for name in read for value in (evaluation.truth[name][i], _short(read[name][i]))]
            ranks = [own.ranks[metric][i] for metric in METRICS]
            file.write(csv_line([query, material.people[material.rows[i]], *ranks, *traits]))


def _pairs(names: Any) -> list[str]:
    return [column for name in names for column in (name, f"{name}_read")]


def _short(value: Any) -> Any:
    return value if isinstance(value, str) else f"{value:.5g}"


def write_gallery(directory: Path, material: Material, evaluation: Evaluation, untrained: list[str]) -> None:
    """gallery.png: of some people the original, the face from the photo, that from the query, the best retrieved."""
    shown = np.linspace(0, len(evaluation.drawn) - 1, min(SHOWN, len(evaluation.drawn))).astype(int)
    queries = evaluation.drawn[shown]
    best = top(material.features[queries], material.gallery, min(RETRIEVED, len(material.people)))
    rows = []
    for i, query, found in zip(shown, queries, best, strict=True):
        retrieved = [material.dataset.root / material.photos[row] for row in found]
        faces = [evaluation.photos[i], evaluation.of_photo.images[i], evaluation.outcomes["encoder"].faces.images[i]]
        rows.append((material.people[material.rows[query]], [*faces, *retrieved]))
    columns = ["original", "from the photo", "from the query", *(f"retrieved {i + 1}" for i in range(best.shape[1]))]
    with atomic(directory / "gallery.png") as partial:
        title = f"{len(rows)} of {len(material.people)} people"
        if untrained:
            title += f"   UNTRAINED: random weights in the {' and the '.join(untrained)}"
        pictures.sheet(rows, columns, title).save(partial, "PNG")


def plot(evaluation: Evaluation, figures: dict[str, dict[str, float | None]], people: int) -> Any:
    """Recall curve, calibration of ranks, confusion of sex, scatter of age, attributes, craniofacial ratios."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 9), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    plot_recall(axes[0], evaluation, people)
    plot_calibration(axes[1], evaluation, people)
    plot_confusion(axes[2], evaluation)
    plot_scatter(axes[3], evaluation)
    plot_bars(axes[4], {n: r for n, r in figures.items() if n.startswith(("feature/", "face/")) and "error" not in n})
    axes[4].set_title("attributes: accuracy, correlation")
    plot_bars(axes[5], {name: row for name, row in figures.items() if name.startswith("craniofacial/")})
    axes[5].set_title("craniofacial ratios: correlation")
    return figure


def plot_recall(axis: Any, evaluation: Evaluation, people: int) -> None:
    k = np.unique(np.geomspace(1, people, 60).astype(int))
    for name, outcome in evaluation.outcomes.items():
        colour, label = LISTENERS[name]
        axis.plot(k, [(outcome.ranks["cosine"] <= one).mean() for one in k], color=colour, label=label)
    axis.plot(k, k / people, "--", color=CHANCE, label="chance")
    axis.set(xscale="log", xlabel="K", ylabel="recall at K", ylim=(0, 1.02), title=f"retrieval among {people} (cosine)")
    axis.legend()


def plot_calibration(axis: Any, evaluation: Evaluation, people: int) -> None:
    edges = np.linspace(0, 1, 11)
    for name, outcome in evaluation.outcomes.items():
        colour, label = LISTENERS[name]
        share = np.histogram((outcome.ranks["cosine"] - 0.5) / people, edges)[0] / len(outcome.ranks["cosine"])
        axis.stairs(10 * share, edges, color=colour, label=label, linewidth=1.8)
    axis.axhline(1, linestyle="--", color=CHANCE, label="chance")
    axis.set(xlabel="rank of the true face / people", ylabel="density", title="where the true face is found")
    axis.legend()


def plot_confusion(axis: Any, evaluation: Evaluation) -> None:
    read = evaluation.outcomes["encoder"].read["feature"]
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
    axis.set(xlabel="read in the feature", ylabel="truth", title=trait)


def plot_scatter(axis: Any, evaluation: Evaluation) -> None:
    read = evaluation.outcomes["encoder"].read["feature"]
    truths = evaluation.truth
    traits = [name for name in read if truths[name].dtype.kind != "U" and np.isfinite(truths[name]).any()]
    if not traits:
        axis.set_axis_off()
        return
    trait = "age" if "age" in traits else traits[0]
    truth = evaluation.truth[trait]
    for name in [name for name in ("ideal", "encoder") if name in evaluation.outcomes]:
        colour, label = LISTENERS[name]
        guess = evaluation.outcomes[name].read["feature"][trait]
        axis.scatter(truth, guess, s=8, alpha=0.5, color=colour, label=label, linewidths=0)
    axis.axline((float(np.nanmean(truth)),) * 2, slope=1, color=CHANCE, linestyle="--")
    low, high = np.nanmin(truth), np.nanmax(truth)
    margin = 0.5 * (high - low)
    axis.set(xlabel="truth", ylabel="read in the feature", title=trait, ylim=(low - margin, high + margin))
    axis.legend()


def plot_bars(axis: Any, figures: dict[str, dict[str, float | None]]) -> None:
    """Figures with their intervals; chance and the ideal listener as marks."""
    for i, row in enumerate(reversed(figures.values())):
        if row["low"] is not None:
            axis.barh(i, row["value"], color=OWN, height=0.6)
            axis.plot([row["low"], row["high"]], [i, i], color=INK, linewidth=1.5)
        for key, colour in (("chance", CHANCE), ("ideal", IDEAL)):
            if row[key] is not None:
                axis.plot([row[key]] * 2, [i - 0.4, i + 0.4], color=colour, linewidth=3)
    axis.set_yticks(
        range(len(figures)), [name.partition("/")[2] if "craniofacial" in name else name for name in reversed(figures)]
    )
    axis.axvline(0, color=INK, linewidth=0.5)


def plot_comparison(tables: list[dict[str, dict[str, float | None]]], labels: list[str]) -> Any:
    """Evaluations side by side: the figures that are asked for first, with intervals, chance and the ideal listener."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for table in tables for name in table if name.startswith(HEADLINES)))
    rows = -(-len(names) // 4)
    figure = Figure(figsize=(15, rows * (0.9 + 0.32 * len(labels)) + 0.6), layout="constrained")
    axes = figure.subplots(rows, 4, squeeze=False, sharey=True).ravel()
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    for axis, name in zip(axes, names, strict=False):
        for i, table in enumerate(tables):
            figures = table.get(name)
            if not figures or figures["low"] is None:
                continue
            axis.barh(i, figures["value"], color=OWN, height=0.7)
            axis.plot([figures["low"], figures["high"]], [i, i], color=INK)
            for key, colour in (("chance", CHANCE), ("ideal", IDEAL)):
                if figures[key] is not None:
                    axis.plot([figures[key]] * 2, [i - 0.45, i + 0.45], color=colour, linewidth=3, label=key)
        axis.set_title(name, fontsize=10)
        axis.set_yticks(range(len(labels)), labels, parse_math=False)
    axes[0].set_ylim(len(labels) - 0.5, -0.5)  # shared by all
    found = dict(zip(*reversed(axes[0].get_legend_handles_labels()), strict=True))
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=2)
    return figure
