"""The judges of an evaluation: built from the options, and what they say in one line each."""

import json
import logging
from typing import TYPE_CHECKING, Any

from hydra.utils import get_class

from speech2face.errors import UserError

if TYPE_CHECKING:
    from speech2face.judges.base import Judge
    from speech2face.weights.load import Loaded
    from speech2face.weights.part import Description

log = logging.getLogger(__name__)
SHOWN = ("similarity/cosine", "retrieval/cosine/100/R@10", "retrieval/cosine/all/R@1")
SHOWN += ("retrieval/cosine/all/R@10", "vggface_score", "sex/accuracy", "age/error", "age/correlation")


def build_judges(descriptions: dict[str, "Description"]) -> dict[str, "Judge"]:
    """Build the judges by name, without reading their networks and without importing torch.

    descriptions: class (_target_) and arguments by name. Raises UserError for a package or a file that is missing.
    """
    judges = {}
    for name, description in descriptions.items():
        arguments = {key: value for key, value in description.items() if key != "_target_"}
        if "weights" in arguments:
            arguments["slot"] = f"judge.{name}"
        try:
            judges[name] = get_class(description["_target_"])(**arguments)
        except UserError:
            raise
        except Exception as error:  # a class can raise anything for arguments that it does not expect
            raise UserError(f"judge={name}: {' '.join(str(error).split())}") from None
    return judges


def with_paths(descriptions: dict[str, "Description"], judges: dict[str, "Judge"]) -> dict[str, "Description"]:
    """The descriptions with the paths of weights made absolute, so that they are valid in any working directory."""
    return {
        name: one | ({"weights": judges[name].weights} if judges[name].weights else {})
        for name, one in descriptions.items()
    }


def part_in_training(judge: "Judge", loaded: dict[str, "Loaded"]) -> str:
    """Whether a judge took part in the training of the weights, as far as their cards tell."""
    if judge.digest is None:
        return "is not among what the cards of weights record: whether it took part in training is unknown"
    slots = [
        slot for slot, one in loaded.items() if judge.digest in json.dumps([one.record(), one.space, one.training])
    ]
    if slots:
        return f"took part in making the weights of {', '.join(slots)}: its verdict is not independent"
    return "had no part in training, as far as the cards of the weights tell"


def log_judges(said: dict[str, str], metrics: dict[str, dict[str, Any]]) -> None:
    """Log the part of each judge in training, and its main metrics."""
    for name, part in said.items():
        log.info("judge %s %s", name, part)
        for metric, row in metrics.items():
            if metric.startswith(f"judge/{name}/") and metric.endswith(SHOWN) and row["value"] is not None:
                log.info("%-52s %9.3f  [%s]  chance %.3f", metric, row["value"], _interval(row), row["chance"])


def _interval(row: dict[str, Any]) -> str:
    return "undefined" if row["low"] is None else f"{row['low']:.3f}, {row['high']:.3f}"
