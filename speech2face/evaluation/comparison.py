"""comparison.html and differences.csv of a sweep of evaluations: which job is better, tested on the same people."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speech2face.evaluation import page
from speech2face.evaluation.describe import RANK, Description, describe, sorted_by_group
from speech2face.evaluation.paired import SAMPLES, Difference, Rows, difference, holm, read_values
from speech2face.evaluation.plots import plot_comparison
from speech2face.evaluation.report import HEADLINES
from speech2face.files import atomic, csv_line

Row = Mapping[str, float | None]  # of the table of metrics, by column
ALL_PAIRS = 4  # most jobs of which all pairs are compared; of more, each is compared with the first
LEVEL = 0.05
DETAILS = re.compile(  # metrics of judges that would make the comparison long
    r"judge/(?!\w+/(clip|person)/(similarity/cosine|retrieval/cosine/\w+/R@10|vggface_score|sex/accuracy|age/\w+)$).*"
)
KEY = ("R@10", "sex/accuracy", "age/error")  # ends of the names of metrics that sentences are about
COLUMNS = ("metric", "job", "than", "difference", "low", "high", "p", "p_corrected", "people")


@dataclass
class Tested:
    """A metric of job `b` minus that of job `a`, by their numbers. corrected: p for the number of differences."""

    metric: str
    a: int
    b: int
    found: Difference
    corrected: float = 1.0

    @property
    def better(self) -> int | None:
        """The job that is better by the corrected test; None if none is."""
        direction = {"up": 1, "down": -1}.get(describe(self.metric).better)
        if self.corrected >= LEVEL or direction is None:
            return None
        return self.b if direction * self.found.value > 0 else self.a


def test(values: Sequence[Mapping[str, Rows]], names: Sequence[str]) -> list[Tested]:
    """The differences of all pairs of jobs, or of each job and the first if there are more than four.

    values: the rows of each job's metrics (paired.read_values). names: of metrics. What cannot be tested is left out:
    metrics that are not of rows, or are the same for everybody in both jobs.
    """
    pairs = list(itertools.combinations(range(len(values)), 2))
    pairs = pairs if len(values) <= ALL_PAIRS else [(0, job) for job in range(1, len(values))]
    tested = []
    for name, (a, b) in itertools.product(names, pairs):
        if name in values[a] and name in values[b] and (found := difference(values[a][name], values[b][name])):
            tested += [Tested(name, a, b, found)] if found.low or found.high else []
    for one, corrected in zip(tested, holm([one.found.p for one in tested]), strict=True):
        one.corrected = corrected
    return tested


def compare(
    directory: Path, jobs: Sequence[Path], labels: Sequence[str], heads: Sequence[Mapping[str, Any]], failed: list[str]
) -> None:
    """Write comparison.html, comparison.png and differences.csv.

    jobs: directories of the evaluations. heads: content of metrics.json of each, {} if it failed. failed: sentences.
    """
    tables = [head.get("metrics", {}) for head in heads]
    simulated = any(head.get("simulated") for head in heads)
    names = [name for table in tables for name in table if name.startswith(HEADLINES)]
    names = sorted_by_group(name for name in names if not DETAILS.fullmatch(name))
    figure = plot_comparison(tables, labels, names, simulated)
    with atomic(directory / "comparison.png") as partial:
        figure.savefig(partial, format="png", dpi=110)
    open_to_test = [name for name in names if describe(name, simulated).better != "control"]
    tested = test([read_values(job, names) for job in jobs], open_to_test)
    with atomic(directory / "differences.csv") as partial, open(partial, "wb") as file:
        file.write(csv_line(COLUMNS))
        for one in tested:
            numbers = (one.found.value, one.found.low, one.found.high, one.found.p, one.corrected)
            file.write(
                csv_line([one.metric, labels[one.b], labels[one.a], *(f"{x:.6g}" for x in numbers), one.found.people])
            )
    text = page.render(
        "comparison.html",
        title=f"{len(jobs)} evaluations compared",
        labels=labels,
        asked=[_asked(label, head) for label, head in zip(labels, heads, strict=True)],
        failed=failed,
        answers=sentences(tested, labels, tables),
        tested=[shown(one, labels) for one in tested],
        untested=[describe(name).label for name in open_to_test if name not in {one.metric for one in tested}],
        samples=SAMPLES,
        pair=shown(tested[0], labels)["pair"] if tested and len(jobs) == 2 else "",
        against_first=len(jobs) > ALL_PAIRS,
        values=[_values(name, tables, simulated) for name in names],
        plots=page.as_data(figure),
        simulated=simulated,
    )
    with atomic(directory / "comparison.html") as partial:
        partial.write_text(text, encoding="utf-8", errors="replace")


def sentences(tested: Sequence[Tested], labels: Sequence[str], tables: Sequence[Mapping[str, Row]]) -> list[str]:
    """For the most important metrics, which of two jobs is better, or that this cannot be told."""
    found = []
    for one in tested:
        if not one.metric.endswith(KEY) or one.metric.startswith(("face/", "retrieval/l")):
            continue
        what, better = describe(one.metric), one.better
        numbers = " and ".join(what.shown(tables[job][one.metric]["value"]) for job in (one.a, one.b))
        if better is None:
            text = f"{what.label}: {labels[one.a]} and {labels[one.b]} cannot be told apart ({numbers}"
        else:
            other = one.a if better == one.b else one.b
            numbers = " against ".join(what.shown(tables[job][one.metric]["value"]) for job in (better, other))
            text = f"{what.label}: {labels[better]} is better than {labels[other]} ({numbers}"
        found.append(f"{text}; difference {_signed(what, one.found)}, corrected p {_p(one.corrected)}).")
    return found


def shown(one: Tested, labels: Sequence[str]) -> dict[str, Any]:
    """A difference as texts."""
    what = describe(one.metric)
    return {
        "name": one.metric,
        "what": what,
        "pair": f"{labels[one.b]} minus {labels[one.a]}",
        "difference": signed(what, one.found.value),
        "interval": _interval(what, one.found),
        "p": _p(one.found.p),
        "corrected": _p(one.corrected),
        "people": one.found.people,
        "verdict": f"{labels[one.better]} is better" if one.better is not None else "cannot be told",
        "told": one.better is not None,
    }


def signed(what: Description, value: float) -> str:
    """A difference with its sign and its unit; of shares in percentage points."""
    unit = {"%": " points", "": "", RANK: ""}.get(what.unit, f" {what.unit}")
    return ("+" if value > 0 else "") + what.number(value) + unit


def _signed(what: Description, found: Difference) -> str:
    return f"{signed(what, found.value)}, 95 % interval {_interval(what, found)}"


def _interval(what: Description, found: Difference) -> str:
    return f"{signed(what, found.low).split(' ')[0]} to {signed(what, found.high).split(' ')[0]}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _asked(label: str, head: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "label": label,
        "people": head.get("people", ""),
        "queries": head.get("queries", ""),
        "dataset": head.get("dataset", ""),
        "notes": head.get("notes", []),
        "done": bool(head),
    }


def _values(name: str, tables: Sequence[Mapping[str, Row]], simulated: bool) -> dict[str, Any]:
    what = describe(name, simulated)
    rows = [page.metric_row(name, table[name], simulated) if name in table else None for table in tables]
    return {"name": name, "what": what, "rows": rows}
