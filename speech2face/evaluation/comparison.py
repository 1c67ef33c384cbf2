"""comparison.html and differences.csv of a sweep of evaluations: which job is better, tested on the same people."""

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speech2face.evaluation import page
from speech2face.evaluation.describe import Description, describe, probability, sorted_by_group
from speech2face.evaluation.paired import SAMPLES, Difference, Rows, difference, holm, read_values
from speech2face.evaluation.plots import plot_comparison
from speech2face.evaluation.report import HEADLINES
from speech2face.files import atomic, csv_line
from speech2face.inference.page import drawn, plot_data, render

Row = Mapping[str, float | None]  # of the table of metrics, by column
ALL_PAIRS = 4  # most jobs of which all pairs are compared; of more, each is compared with the first
LEVEL = 0.05
DETAILS = re.compile(  # metrics of judges that would make the comparison long
    r"judge/(?!\w+/(clip|person)/(similarity/cosine|retrieval/cosine/\w+/R@10|vggface_score|sex/accuracy|age/\w+)$).*"
)
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
    plots = drawn(plot_comparison(tables, labels, names, simulated))
    with atomic(directory / "comparison.png") as partial:
        partial.write_bytes(plots)
    values = [read_values(job, names) for job in jobs]
    tested = test(values, [name for name in names if describe(name, simulated).better in ("up", "down")])
    with atomic(directory / "differences.csv") as partial, open(partial, "wb") as file:
        file.write(csv_line(COLUMNS))
        for one in tested:
            numbers = (one.found.value, one.found.low, one.found.high, one.found.p, one.corrected)
            file.write(
                csv_line([one.metric, labels[one.b], labels[one.a], *(f"{x:.6g}" for x in numbers), one.found.people])
            )
    text = render(
        page.TEMPLATES / "comparison.html",
        title=f"{len(jobs)} evaluations compared",
        labels=labels,
        asked=[_asked(label, head) for label, head in zip(labels, heads, strict=True)],
        failed=failed,
        answers=sentences(tested, labels, tables),
        tested=[shown(one, labels) for one in tested],
        untested=untested([name for name in names if name not in {one.metric for one in tested}], values, simulated),
        samples=SAMPLES,
        pair=shown(tested[0], labels)["pair"] if tested and len(jobs) == 2 else "",
        against_first=len(jobs) > ALL_PAIRS,
        values=[_values(name, tables, simulated) for name in names],
        plots=plot_data(plots),
        simulated=simulated,
    )
    with atomic(directory / "comparison.html") as partial:
        partial.write_text(text, encoding="utf-8", errors="replace")


def sentences(tested: Sequence[Tested], labels: Sequence[str], tables: Sequence[Mapping[str, Row]]) -> list[str]:
    """Which differences are significant after correction, one a sentence, and those of which none is shown."""
    if not tested:
        return []
    told = [one for one in tested if one.better is not None]
    verb = "difference is" if len(tested) == 1 else "differences are"
    text = f"{len(told)} of {len(tested)} {verb} significant after correction"
    found = [f"{text}. The intervals of differences are 95 % and not corrected." if told else f"{text}."]
    for one in told:
        what, better = describe(one.metric), one.better
        other = one.a if better == one.b else one.b
        numbers = " against ".join(what.shown(tables[job][one.metric]["value"]) for job in (better, other))
        found.append(
            f"{what.label}: {labels[better]} is better than {labels[other]} ({numbers}). "
            f"Difference, {_pair(one, labels)}: {signed(what, one.found.value)}, interval "
            f"{_interval(what, one.found)}, corrected p {probability(one.corrected)}."
        )
    rest = Counter(describe(one.metric).label for one in tested if one.better is None)
    several = len({(one.a, one.b) for one in tested}) > 1
    listed = [f"{label} ({count} of the pairs)" if several else label for label, count in rest.items()]
    return found + ([f"No difference shown: {'; '.join(listed)}."] if rest else [])


def untested(names: Sequence[str], values: Sequence[Mapping[str, Rows]], simulated: bool) -> dict[str, list[str]]:
    """The labels of metrics that are not tested, by the reason. values: the rows of each job's metrics."""
    found: dict[str, list[str]] = {}
    for name in names:
        what, rows = describe(name, simulated), [job[name] for job in values if name in job]
        if what.better == "control":
            reason = "it is a control, which should be at chance"
        elif not what.better:
            reason = "neither direction is better"
        elif not rows:
            reason = "no values of single queries are kept of it, as of an equal error rate or a ratio"
        elif max((len(set(a.people) & set(b.people)) for a, b in itertools.combinations(rows, 2)), default=0) < 2:
            reason = "fewer than two people have it in two jobs"
        else:
            reason = "the values are the same, or undefined"
        found.setdefault(reason, []).append(describe(name).label)
    return found


def shown(one: Tested, labels: Sequence[str]) -> dict[str, Any]:
    """A difference as texts."""
    what = describe(one.metric)
    return {
        "name": one.metric,
        "what": what,
        "pair": _pair(one, labels),
        "difference": signed(what, one.found.value),
        "interval": _interval(what, one.found),
        "p": probability(one.found.p),
        "corrected": probability(one.corrected),
        "people": one.found.people,
        "verdict": f"{labels[one.better]} is better" if one.better is not None else "no difference shown",
        "told": one.better is not None,
    }


def signed(what: Description, value: float) -> str:
    """A difference with its sign and its unit; of shares in percentage points."""
    unit = " points" if what.unit == "%" else what.suffix
    return ("+" if value > 0 else "") + what.number(value) + unit


def _pair(one: Tested, labels: Sequence[str]) -> str:
    return f"{labels[one.b]} minus {labels[one.a]}"


def _interval(what: Description, found: Difference) -> str:
    return f"{signed(what, found.low).split(' ')[0]} to {signed(what, found.high).split(' ')[0]}"


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
