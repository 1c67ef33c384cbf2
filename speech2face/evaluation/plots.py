"""The plots of an evaluation, and of a sweep of evaluations."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from speech2face.evaluation.describe import describe
from speech2face.evaluation.descriptions import CONTROLS
from speech2face.evaluation.evaluation import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = dict[str, float | None]  # of the table of metrics, by column
INK, OWN, CONTROL, IDEAL, TRAITS, CHANCE = "#1d2733", "#2f6f8f", "#b9c4cd", "#d98324", "#7a9e3a", "#8b97a3"
OBSERVERS = {
    "encoder": (OWN, "encoder"),
    "ideal": (IDEAL, "ideal observer (estimate)"),
    "traits": (TRAITS, "shared traits"),
}
BARS = 16  # most bars in a panel
READ = ("embedding/", "estimate/", "face/")


def plot(evaluation: Evaluation, metrics: Mapping[str, Row], people: int, simulated: bool) -> "Figure":
    """Recall curve, places of the right photo, and what there is of: sex, age, traits, craniofacial ratios.

    people: in the gallery. simulated: whether they are, so that some traits are controls.
    """
    from matplotlib.figure import Figure

    read = evaluation.outcomes["encoder"].read
    read = read.get("estimate", {}) | read["embedding"]
    panels: list[Callable[[Axes], None]] = [
        lambda axis: plot_recall(axis, evaluation, people),
        lambda axis: plot_ranks(axis, evaluation, people),
    ]
    if (trait := _first(read, "sex", classes=True)) and (evaluation.truth[trait] != "").any():
        panels.append(lambda axis: plot_confusion(axis, trait, evaluation.truth[trait], read[trait]))
    if (number := _first(read, "age", classes=False)) and np.isfinite(evaluation.truth[number]).any():
        panels.append(lambda axis: plot_scatter(axis, number, evaluation))
    shares = {name: row for name, row in metrics.items() if name.startswith(READ) and not name.endswith("/error")}
    ratios = {name: row for name, row in metrics.items() if name.startswith("craniofacial/")}
    for title, rows in (("traits: share that is right, correlation", shares), ("proportions: correlation", ratios)):
        if any(row["value"] is not None for row in rows.values()):
            panels.append(lambda axis, title=title, rows=rows: plot_bars(axis, title, rows, simulated))
    height = -(-len(panels) // 2)
    figure = Figure(figsize=(12, 4.4 * height), layout="constrained")
    rows = np.atleast_1d(figure.subfigures(height))  # each has margins of its own, as wide as its labels
    for i, draw in enumerate(panels):
        axis = rows[i // 2].add_subplot(1, 2, i % 2 + 1)
        draw(axis)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _first(read: Mapping[str, np.ndarray], preferred: str, classes: bool) -> str | None:
    traits = [name for name, values in read.items() if (values.dtype.kind == "U") == classes]
    return preferred if preferred in traits else next(iter(traits), None)


def plot_recall(axis: "Axes", evaluation: Evaluation, people: int) -> None:
    """Recall at K of every observer by the cosine distance, for K up to the number of people."""
    k = np.unique(np.geomspace(1, people, 60).astype(int))
    for name, outcome in evaluation.outcomes.items():
        colour, label = OBSERVERS[name]
        axis.plot(k, [100 * (outcome.ranks["cosine"] <= one).mean() for one in k], color=colour, label=label)
    axis.plot(k, 100 * k / people, "--", color=CHANCE, label="chance")
    axis.set(xscale="log", xlabel="K", ylabel="recall at K, %", ylim=(0, 102), xlim=(1, people))
    ticks = [one * 10**power for power in range(7) for one in (1, 2, 5) if one * 10**power <= people]
    axis.set_xticks(ticks[:: 1 + len(ticks) // 10], [f"{tick:,}" for tick in ticks[:: 1 + len(ticks) // 10]])
    axis.minorticks_off()
    axis.set_title(f"right photo among the K nearest of {people}")
    axis.legend(fontsize=9)


def plot_ranks(axis: "Axes", evaluation: Evaluation, people: int) -> None:
    """Shares of the queries by the place of the right photo, in tenths of the gallery, for every observer."""
    edges = np.linspace(0, 1, 11)
    width = 0.8 / len(evaluation.outcomes)
    for i, (name, outcome) in enumerate(evaluation.outcomes.items()):
        colour, label = OBSERVERS[name]
        share = np.histogram((outcome.ranks["cosine"] - 0.5) / people, edges)[0] / len(outcome.ranks["cosine"])
        axis.bar(np.arange(10) + 0.1 + (i + 0.5) * width, 100 * share, width, color=colour, label=label)
    axis.axhline(10, linestyle="--", color=CHANCE, label="chance")
    axis.set_xticks(range(11), [f"{10 * edge}" for edge in range(11)])
    axis.set(xlabel="% of the gallery that is nearer", ylabel="queries, %")
    axis.set_title("place of the right photo")
    axis.legend(fontsize=9)


def plot_confusion(axis: "Axes", trait: str, truth: np.ndarray, guess: np.ndarray) -> None:
    """Confusion matrix of a trait with classes. truth: (n,), "" where unknown. guess: (n,)."""
    classes = np.unique(np.concatenate([truth[truth != ""], guess]))
    counts = np.array([[((truth == a) & (guess == b)).sum() for b in classes] for a in classes])
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (i, j), share in np.ndenumerate(shares):
        text, colour = f"{share:.0%}\n{counts[i, j]} queries", "white" if share > 0.5 else INK
        axis.text(j, i, text, ha="center", va="center", color=colour)
    axis.set_xticks(range(len(classes)), classes, parse_math=False)
    axis.set_yticks(range(len(classes)), classes, parse_math=False)
    axis.set(xlabel="read from the query", ylabel="truth", title=trait.replace("_", " "))


def plot_scatter(axis: "Axes", trait: str, evaluation: Evaluation) -> None:
    """True against predicted values of a trait with numbers, of the encoder and the ideal observer."""
    truth = evaluation.truth[trait]
    for name in [name for name in ("ideal", "encoder") if name in evaluation.outcomes]:
        colour, label = OBSERVERS[name]
        read = evaluation.outcomes[name].read
        guess = (read.get("estimate", {}) | read["embedding"]).get(trait)
        if guess is not None:
            axis.scatter(truth, guess, s=10, alpha=0.6, color=colour, label=label, linewidths=0)
    low, high = float(np.nanmin(truth)), float(np.nanmax(truth))
    margin = 0.5 * max(high - low, 1e-6)
    axis.plot([low, high], [low, high], color=CHANCE, linestyle="--", label="perfect")
    axis.set(ylim=(low - margin, high + margin), title=trait.replace("_", " "))
    axis.set(xlabel="truth", ylabel="read from the query")
    axis.legend(fontsize=9)


def plot_bars(axis: "Axes", title: str, metrics: Mapping[str, Row], simulated: bool) -> None:
    """Bars of metrics with intervals, and marks at chance and at the ideal observer. Controls are grey."""
    shown = [(name, row) for name, row in metrics.items() if row["value"] is not None][:BARS]
    for i, (name, row) in enumerate(reversed(shown)):
        control = simulated and any(f"/{one}/" in name for one in CONTROLS)
        axis.barh(i, row["value"], color=CONTROL if control else OWN, height=0.55)
        if row["low"] is not None:
            axis.plot([row["low"], row["high"]], [i, i], color=INK, linewidth=1.2, marker="|", markersize=6)
        for key, colour in (("chance", CHANCE), ("ideal", IDEAL)):
            if row[key] is not None:
                axis.plot([row[key]] * 2, [i - 0.38, i + 0.38], color=colour, linewidth=3)
    labels = [describe(name, simulated).label for name, _ in reversed(shown)]
    axis.set_yticks(range(len(shown)), labels, fontsize=9)
    axis.axvline(0, color=INK, linewidth=0.5)
    axis.set_title(title)
    controls = simulated and any(f"/{one}/" in name for name, _ in shown for one in CONTROLS)
    ideal = any(row["ideal"] is not None for _, row in shown)
    _legend(axis, controls, ideal)


def _legend(axis: "Axes", controls: bool, ideal: bool) -> None:
    """A legend below the axis: encoder, 95 % interval, chance, and what else there is."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    marks = {"encoder": Patch(color=OWN)} | ({"control" if controls else "": Patch(color=CONTROL)} if controls else {})
    marks["95 % interval"] = Line2D([], [], color=INK, linewidth=1.2)
    marks |= {"chance": Line2D([], [], color=CHANCE, linewidth=3)}
    marks |= {"ideal (estimate)": Line2D([], [], color=IDEAL, linewidth=3)} if ideal else {}
    axis.legend(marks.values(), marks.keys(), fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.4, -0.07))


def plot_comparison(
    tables: Sequence[Mapping[str, Row]], labels: Sequence[str], names: Sequence[str], simulated: bool
) -> "Figure":
    """Metrics of several evaluations side by side, as points with intervals, beside chance and the ideal observer.

    tables: metrics of each evaluation. labels: their names. names: of the metrics that are shown; those without a
    value, and those with one value in all of several evaluations have no panel. simulated: whether the people are.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    values = {name: {table[name]["value"] for table in tables if name in table} - {None} for name in names}
    together = sum(map(bool, tables)) > 1
    names = [name for name in names if len(values[name]) > together]
    columns = 3
    rows = max(1, -(-len(names) // columns))
    figure = Figure(figsize=(13, rows * (1.0 + 0.3 * len(labels)) + 0.6), layout="constrained")
    first = None
    for number, name in enumerate(names):
        axis = first = figure.add_subplot(rows, columns, number + 1, sharey=first)
        about = describe(name, simulated)
        for i, table in enumerate(tables):
            row = table.get(name)
            if not row or row["value"] is None:
                continue
            if row["low"] is not None:
                axis.plot([about.scale * row["low"], about.scale * row["high"]], [i, i], color=OWN, linewidth=2)
            axis.plot(about.scale * row["value"], i, "o", color=OWN, markersize=7, label="value, 95 % interval")
            for key, colour, label in (
                ("chance", CHANCE, about.reference),
                ("ideal", IDEAL, "ideal observer (estimate)"),
            ):
                if row[key] is not None and label:
                    at = [about.scale * row[key]] * 2
                    axis.plot(at, [i - 0.4, i + 0.4], color=colour, linewidth=3, label=label)
        unit = f",{about.suffix}" if about.suffix and not about.label.endswith(about.suffix) else ""
        arrow = {"up": "higher is better", "down": "lower is better"}.get(about.better, "")
        axis.set_title(f"{about.label}{unit}\n{arrow}", fontsize=9)
        axis.set_yticks(range(len(labels)), labels, parse_math=False, fontsize=9)
        axis.tick_params(labelleft=number % columns == 0)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.grid(axis="x", color="#e3e8ec")
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_ylim(len(labels) - 0.5, -0.5)
    found = {label: mark for axis in figure.axes for mark, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    if found:
        figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=3)
    return figure
