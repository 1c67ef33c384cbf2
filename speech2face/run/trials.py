"""trials.png: the metric that a sweep optimises, job by job, and by each option that differs between jobs."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speech2face.config.names import short
from speech2face.files import atomic
from speech2face.run.record import optimised

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, BEST = "#2f6f8f", "#d98324"
COLUMNS = 4
DECADES = 30.0  # an axis is logarithmic if its largest number is so many times the smallest
BETTER = {"minimize": min, "maximize": max}


def draw_trials(file: Path, records: list[dict[str, Any]], direction: str | None) -> None:
    """Draw the trials of a sweep, if at least two of its jobs measured a metric.

    records: the content of run.json of each job. direction: "minimize" or "maximize", which marks the best trial; None:
    none is marked.
    """
    values = [optimised(record) for record in records]
    known = [number for number, value in enumerate(values) if value is not None and math.isfinite(value)]
    if len(known) < 2:
        return
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from speech2face.inference.page import drawn

    best = BETTER[direction](known, key=values.__getitem__) if direction else None
    typed = [[short(one).lstrip("+").partition("=") for one in record["overrides"]] for record in records]
    settings = [{name: value for name, _, value in job} for job in typed]
    names = [one for one in settings[known[0]] if len({settings[number].get(one) for number in known}) > 1]
    columns = min(COLUMNS, 1 + len(names))
    rows = -(-(1 + len(names)) // columns)
    figure = Figure(figsize=(3.8 * columns, 3.6 * rows), layout="constrained")
    for place, name in enumerate([None, *names], 1):
        axis: Axes = figure.add_subplot(rows, columns, place)
        where = known if name is None else _positions(axis, [settings[number].get(name, "") for number in known])
        for number, x in zip(known, where, strict=True):
            axis.plot(x, values[number], "o", color=BEST if number == best else INK)
        if name is None and direction:
            so_far = [BETTER[direction](values[one] for one in known[: i + 1]) for i in range(len(known))]
            axis.step(known, so_far, where="post", color=BEST, linewidth=1, label="best so far")
            axis.legend(fontsize=8, loc="lower right")
        if name is None:
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set(xlabel=name or "job", ylabel=records[known[0]]["objective"])
        axis.spines[["top", "right"]].set_visible(False)
    if best is not None:
        told = ", ".join(f"{name}={_rounded(settings[best].get(name, ''))}" for name in names)
        figure.suptitle(f"best: job {best} with {values[best]:.4g} ({told})", fontsize=10)
    with atomic(file) as partial:
        partial.write_bytes(drawn(figure))


def _positions(axis: "Axes", texts: list[str]) -> list[float]:
    """The positions of an option's values on the x axis: the numbers, or the places of the different words."""
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        words = list(dict.fromkeys(texts))
        axis.set_xticks(range(len(words)), words, rotation=20, ha="right")
        return [words.index(text) for text in texts]
    if min(numbers) > 0 and max(numbers) > DECADES * min(numbers):
        axis.set_xscale("log")
    return numbers


def _rounded(text: str) -> str:
    try:
        return f"{float(text):.4g}"
    except ValueError:
        return text
