"""An evaluation in sentences: what was asked, of whom, how well, beside what."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from speech2face.evaluation.describe import Description, describe
from speech2face.evaluation.descriptions import CONTROLS

Row = Mapping[str, float | None]  # of the table of metrics, by column
FEW = 20  # people
SMALL = 0.01  # p-value of a rank test that is named


@dataclass
class Asked:
    """What an evaluation was asked.

    parts: by slot (encoder, face, decoder), the record of its weights in run.json. dataset: its name. split: of it.
    modality: of the queries. simulated: whether the people are. warnings: sentences. play: whether recordings may be
    played in the report. draws: faces per voice that a prior sampled, 0 without a prior.
    """

    parts: Mapping[str, Mapping[str, Any]]
    dataset: str
    split: str
    modality: str
    simulated: bool
    warnings: list[str] = field(default_factory=list)
    play: bool = False
    command: str = ""
    draws: int = 0

    @property
    def query(self) -> str:
        """The word for a query."""
        return "recording" if self.modality == "speech" else "other photo"

    def part(self, slot: str) -> str:
        """A part with its weights, in words."""
        one = self.parts[slot]
        return f"{one['choice']} ({'random weights' if one['untrained'] else one['weights']})"


def question(asked: Asked, counts: Mapping[str, int]) -> list[str]:
    """Sentences: what was asked, and of whom."""
    people = f"{'simulated ' if asked.simulated else ''}people"
    split = "" if asked.split == "all" else f" of split {asked.split}"
    found = [
        f"The encoder {asked.part('encoder')} made an embedding of each of {counts['queries']} {asked.query}s of "
        f"{counts['people']} {people}{split} of the dataset {asked.dataset}.",
        f"Each embedding was compared with the embeddings of {counts['people']} photos, one of each person, by "
        f"{asked.part('face')}; the right photo is the one of the same person.",
        f"Faces were drawn by {asked.part('decoder')}.",
    ]
    if asked.simulated:
        found.append("The people are simulated: their photos are drawings by a program.")
    if asked.draws:
        found.append(f"The prior sampled {asked.draws} faces per voice, for one {asked.query} of each person.")
    if counts.get("training photos"):
        found.append(f"{counts['training photos']} photos of other people were there to learn from.")
    if counts.get("failed"):
        found.append(f"{counts['failed']} files could not be read; results.csv has the reasons.")
    return found


def answers(asked: Asked, counts: Mapping[str, int], metrics: Mapping[str, Row]) -> list[str]:
    """Sentences: how well, beside chance and the ideal observer. The numbers are those of metrics.json."""
    found = []
    k = max([k for k in (1, 5, 10) if 10 * k <= counts["people"]], default=1)
    recall, rank = (f"retrieval/cosine/all/{name}" for name in (f"R@{k}", "median_rank"))
    if row := metrics.get(recall):
        of = f"the {k} nearest" if k > 1 else "the nearest"
        text = f"For {_with_interval(describe(recall), row)} of the {asked.query}s the right photo is "
        text += f"{'among ' if k > 1 else ''}{of} of {counts['people']}{_beside(describe(recall), row)}"
        found.append(text)
    if row := metrics.get(rank):
        found.append(f"The median place of the right photo is {_with_interval(describe(rank), row)}; chance is "
                     f"{describe(rank).number(row['chance'])}.")  # fmt: skip
    for trait, measure, verb in (("sex", "accuracy", "is told right for"), ("age", "error", "is off by")):
        for source, where in (("embedding", "a probe"), ("estimate", "the estimate that the weights bring")):
            name = f"{source}/{trait}/{measure}"
            if (row := metrics.get(name)) and row["value"] is not None:
                what = describe(name)
                extra = f" of the {asked.query}s" if measure == "accuracy" else " on average"
                found.append(f"The {trait} {verb} {_with_interval(what, row)}{extra}, by {where}{_beside(what, row)}")
                break
    found += drawn(asked, metrics) + calibrated(metrics)
    if counts["people"] < FEW:
        found.append(
            f"{counts['people']} people are few: the intervals are wide, and no conclusion about other people follows."
        )
    return found + controls(asked, metrics)


def drawn(asked: Asked, metrics: Mapping[str, Row]) -> list[str]:
    """A sentence on the drawn faces by the first judge: R@10 in the field's gallery of 100, or in that of all."""
    pattern = re.compile(r"judge/(?P<judge>\w+)/clip/retrieval/cosine/(?P<size>100|all)/R@10")
    found = next((one for name in metrics if (one := pattern.fullmatch(name))), None)
    if not found:
        return []
    what, row = describe(found[0]), metrics[found[0]]
    of = "all photographs" if found["size"] == "all" else "100 photographs"
    return [
        f"Drawn faces: for {_with_interval(what, row)} of the {asked.query}s, the judge {found['judge']} finds the "
        f"person's photograph among the 10 of {of} that are nearest to the drawn face{_beside(what, row)}"
    ]


def calibrated(metrics: Mapping[str, Row]) -> list[str]:
    """A sentence on the calibration of the prior, if one was tested."""
    parts = []
    for name, text in (
        ("age/coverage_50", "the central 50 % interval of age holds the truth for {}"),
        ("age/coverage_90", "that of 90 % for {}"),
        ("sex/error", "the calibration error of sex is {}"),
        (
            "energy_ratio",
            "the energy score as a share of the distance of the single most typical face, better if lower, is {}",
        ),
    ):
        if row := metrics.get(f"calibration/{name}"):
            what = describe(f"calibration/{name}")
            parts.append(f"{text.format(_with_interval(what, row))}, {what.beside(row['chance'])}")
    ranked = {n: row["value"] for n, row in metrics.items() if re.fullmatch("calibration/.*/ranks_p", n)}
    ranked = {n.split("/")[1].replace("_", " "): p for n, p in ranked.items() if p is not None}
    if ranked:
        small = [name for name, p in ranked.items() if p < SMALL]
        against = f"p is below {SMALL} for {', '.join(small)}" if small else f"no p is below {SMALL}"
        parts.append(f"of the rank tests, of {', '.join(ranked)}, {against}")
    return [f"Samples of the prior: {'; '.join(parts)}."] if parts else []


def controls(asked: Asked, metrics: Mapping[str, Row]) -> list[str]:
    """A sentence on whether the traits that no voice depends on are at chance, as they should be."""
    if not asked.simulated or asked.modality != "speech":
        return []
    read = {
        name: row
        for name, row in metrics.items()
        if name.startswith("embedding/") and name.split("/")[1] in CONTROLS and row["low"] is not None
    }
    if not read:
        return []
    wrong = [name for name, row in read.items() if is_better(describe(name), row)]
    names = " and ".join(dict.fromkeys(name.split("/")[1].replace("_", " ") for name in wrong or read))
    if wrong:
        return [
            f"The control {names} is above chance. No simulated voice depends on it: the encoder has overfitted, the "
            "evaluation is faulty, or this is the one interval in twenty that misses."
        ]
    return [f"The controls, {names}, are at chance, as they should be: no simulated voice depends on them."]


def observer(record: Mapping[str, float | str]) -> list[str]:
    """Sentences on the ideal observer. record: see observers.fit_observers."""
    if "refused" in record:
        return [f"There is no ideal observer: {record['refused']}."]
    if not record:
        return []
    return [
        "The ideal observer is an estimate of the best prediction that a voice allows: a regression from the true "
        f"parameters of the simulated voices to the embeddings of photos, fitted on {record['people']} training people "
        f"({record['regressor']}, chosen by cross-validation).",
        f"It explains {100 * record['explained']:.1f} % of the variance of the embeddings of people on whom it was not "
        f"fitted, and {100 * record['explained_by_half']:.1f} % if fitted on half of the training people. The farther "
        "the second number is below the first, the farther the true bound is above this estimate. Its interval is over "
        "the people who are evaluated. An encoder can exceed the estimate.",
    ]


def is_better(what: Description, row: Row) -> bool:
    """Whether the interval of a metric is on the better side of chance; for a control, whether it is above chance."""
    if row["low"] is None or row["chance"] is None or not what.better:
        return False
    down = what.better == "down" or (what.better == "control" and ": error" in what.label)
    return row["high"] < row["chance"] if down else row["low"] > row["chance"]


def sentence(name: str, row: Row) -> str:
    """A metric by its label, beside chance."""
    return f"{describe(name).label}: {_with_interval(describe(name), row)}{_beside(describe(name), row)}"


def _with_interval(what: Description, row: Row) -> str:
    if row["low"] is None:
        return what.shown(row["value"])
    return f"{what.shown(row['value'])} (95 % interval {what.number(row['low'])} to {what.number(row['high'])})"


def _beside(what: Description, row: Row) -> str:
    """The end of a sentence: chance, and the ideal observer."""
    if row["low"] is None:
        return "."
    worse = row["low"] > row["chance"] if what.better == "down" else row["high"] < row["chance"]
    verdict = "better than" if is_better(what, row) else "worse than" if worse else "not distinguishable from"
    text = f": {verdict} chance ({what.shown(row['chance'])})."
    if row["ideal"] is not None:
        between = f"{what.number(row['ideal_low'])} to {what.number(row['ideal_high'])}"
        text += f" The ideal observer is estimated to reach {what.shown(row['ideal'])} ({between})"
        if row["of_ideal"] is not None:
            text += f"; the encoder covers {100 * row['of_ideal']:.0f} % of its distance from chance"
            if row.get("of_ideal_low") is not None:
                text += f" ({100 * row['of_ideal_low']:.0f} to {100 * row['of_ideal_high']:.0f} %)"
        text += "."
    return text
