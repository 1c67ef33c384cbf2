"""People of an evaluation on whom the weights were trained: results on them say nothing about other people."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speech2face.weights.load import Loaded

# The simulated people that bundled weights were trained on are the split train of these (docs/bundled_weights.md).
BUNDLED = {"seed": 0, "people": 12_000}
NAME = re.compile(r"talker-(\d+)-(\d+)")


def population(root: Path) -> dict[str, Any] | None:
    """The seed and the number of people of a dataset of talkers; None for another dataset."""
    try:
        seed = json.loads((root / "talkers.json").read_text())["seed"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return {"seed": seed, "people": sum(1 for _ in root.glob(f"talker-{seed}-*"))}


def warning(root: Path, people: Iterable[str], loaded: "Mapping[str, Loaded]") -> str | None:
    """A sentence that names the parts that were trained on some of the simulated `people` of a dataset, or None."""
    from speech2face.talkers.traits import draw_person

    if population(root) is None:
        return None
    names = [found.groups() for one in people if (found := NAME.fullmatch(one))]
    counts = {}
    for slot, one in loaded.items():
        data = (one.training or {}).get("data", {})
        bundled = BUNDLED if one.located.weights.split("/")[0] == "bundled" else None
        trained = data.get("talkers") or (bundled if data.get("simulated") or data.get("mix") else None)
        if trained:
            numbers = [int(number) for seed, number in names if int(seed) == trained["seed"]]
            numbers = [number for number in numbers if number < trained["people"]]
            counts[slot] = sum(draw_person(trained["seed"], number).split == "train" for number in numbers)
    if not (counts := {slot: count for slot, count in counts.items() if count}):
        return None
    return (
        f"the weights of {' and '.join(counts)} were trained on {max(counts.values())} of these {len(names)} people "
        "(simulated, the same seed): the results are better than on other people; evaluate split test, or another seed"
    )
