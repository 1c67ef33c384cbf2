"""The description of a metric by its name, and its numbers as texts."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from speech2face.evaluation.descriptions import (
    CONTROLS,
    DESCRIPTIONS,
    GROUPS,
    PLACES,
    RATIOS,
    REFERENCES,
    SCALES,
    SOURCES,
    UNITS,
    VIEWS,
    WHO,
    WORDS,
)

RANK, P = "rank", "p"  # units that are not shown


@dataclass(frozen=True)
class Description:
    """What a metric means.

    label: a few words. sentence: what it is. unit: "%" for shares, which are then shown in percent, "years", "dB",
    "pixels", "SD", "rank" or "p", which are not shown, or "". better: "up", "down", "control" (it should be at chance),
    or "" if there is no better direction. reference: what the level of chance of the metric is: "chance", "target",
    "single face", or "" if it is not shown.
    """

    label: str
    sentence: str
    unit: str = ""
    better: str = ""
    reference: str = "chance"

    @property
    def scale(self) -> float:
        """The factor from the metric's value to the value that is shown."""
        return 100.0 if self.unit == "%" else 1.0

    @property
    def arrow(self) -> str:
        """A sign for the better direction."""
        return {"up": "↑", "down": "↓", "control": "control"}.get(self.better, "")

    def number(self, value: float | None) -> str:
        """A value as it is shown, without its unit; "undefined" for None."""
        if value is None:
            return "undefined"
        if self.unit == P:
            return probability(value)
        value *= self.scale
        large = self.unit in ("%", "years", "dB", "pixels", RANK) or abs(value) >= 10
        digits = 0 if abs(value) >= 1000 else 1 if large else 3
        return f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")

    def shown(self, value: float | None) -> str:
        """A value with its unit."""
        return self.number(value) + (self.suffix if value is not None else "")

    @property
    def suffix(self) -> str:
        """The unit after a number, with a space; "" if it has none that is shown."""
        return "" if self.unit in ("", RANK, P) else f" {self.unit}"

    def beside(self, level: float | None) -> str:
        """The level of chance as it is shown, with its word if it is not chance; "" if there is none."""
        if level is None or not self.reference:
            return ""
        if self.reference == "chance":
            return self.shown(level)
        return f"{self.reference} {re.sub(r'[.]0+$', '', self.number(level))}{self.suffix}"


def probability(p: float) -> str:
    """A p-value as it is shown."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def describe(name: str, simulated: bool = False) -> Description:
    """The description of a metric. simulated: whether people are simulated; their CONTROLS should then be at chance."""
    for pattern, label, unit, better, sentence in DESCRIPTIONS:
        if found := re.fullmatch(pattern, name):
            words = {key: WORDS.get(value, value.replace("_", " ")) for key, value in found.groupdict().items()}
            trait = found.groupdict().get("trait")
            words["looked"] = VIEWS.get(found.groupdict().get("view") or "", "the pictures")
            words["formula"] = RATIOS.get(found.groupdict().get("ratio") or "", "the ratio")
            words["who"] = WHO.get(words.get("group", "").replace(" ", "_"), "one group")
            words["unit"] = UNITS.get(trait or "", "")
            if "source" in words:
                words["source"], words["place"] = SOURCES[found["source"]], PLACES[found["source"]]
            control = simulated and trait in CONTROLS and not name.startswith(("photo/", "calibration/"))
            note = " A control: no voice of a simulated person depends on it, so it should be at chance."
            scale = " " + SCALES[trait] if simulated and trait in SCALES and name.endswith("/error") else ""
            return Description(
                label.format(**words) + ", control" * control,
                sentence.format(**words) + scale + note * control,
                unit.format(**words),
                "control" if control else better,
                next((word for known, word in REFERENCES if re.fullmatch(known, name)), "chance"),
            )
    return Description(name.partition("/")[2] or name, "")


def group_of(name: str) -> tuple[str, str]:
    """Title and introduction of a metric's group."""
    first = name.partition("/")[0]
    return GROUPS.get(first, (first, ""))


def sorted_by_group(names: Iterable[str]) -> list[str]:
    """Names of metrics, each once, in the order of GROUPS; unknown groups come last."""
    names = list(dict.fromkeys(names))
    firsts = [*GROUPS, *(name.partition("/")[0] for name in names)]
    return sorted(names, key=lambda name: firsts.index(name.partition("/")[0]))
