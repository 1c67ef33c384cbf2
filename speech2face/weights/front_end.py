"""The front end of an encoder: the one that its weights bring, with the values that the user typed."""

import logging
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate

from speech2face.errors import UserError
from speech2face.weights.part import Description, Part

if TYPE_CHECKING:
    from torch import nn

    from speech2face.preprocessing.audio import Audio
    from speech2face.preprocessing.image import Image

    FrontEnd = Audio | Image

log = logging.getLogger(__name__)
TAKES = {"speech": "a voice", "face": "a photo"}


def settle_front_end(part: Part, brought: Description | None) -> Description | None:
    """The effective front end of a part: typed values first, then those of the weights, then the configured ones.

    brought: the front end of the weights, or None. Values that differ are logged, with a warning where a typed value
    wins over one of the weights.
    """
    configured = part.preprocessing
    if not part.from_weights or brought is None or configured is None:
        return configured
    settled = merge(configured, brought)
    where = "preprocessing" if part.slot == "encoder" else f"{part.slot}.preprocessing"
    if "preprocessing" in part.typed:
        if settled != configured:
            log.warning("the typed %s wins over the front end that the weights were trained with", where)
        return configured
    for key in (key.removeprefix("preprocessing.") for key in part.typed if key.startswith("preprocessing.")):
        value, theirs = _select(configured, key), _select(brought, key)
        if theirs is not None and theirs != value:
            log.warning("%s.%s=%s wins over %s, which the weights bring", where, key, value, theirs)
        *above, last = key.split(".")
        node = settled
        for name in above:
            node = node.setdefault(name, {})
        node[last] = value
    before = leaves(configured)
    for key, value in leaves(settled).items():
        if before.get(key, value) != value:
            log.debug("the weights bring %s.%s=%s", where, key, value)
    return settled


def build_front_end(part: Part, network: "nn.Module") -> "FrontEnd":
    """Build the front end that a part describes, and fit it to the network.

    Raises UserError for wrong arguments and for a front end of the other modality.
    """
    try:
        front_end = instantiate(part.preprocessing, _convert_="all")
    except Exception as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError | TypeError | ValueError | AttributeError | RuntimeError | ImportError):
            raise UserError(str(cause) if isinstance(cause, UserError) else f"preprocessing: {cause}") from None
        raise
    if front_end.modality != part.modality:
        raise UserError(
            f"preprocessing: {type(front_end).__name__} takes {TAKES[front_end.modality]}, but "
            f"{part.slot}={part.option} takes {TAKES[part.modality]}"
        )
    front_end.fit_to(network)
    return front_end


def leaves(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested dictionaries by dotted key."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Merge `changes` into `base` recursively. An object of another class (_target_) replaces the old one entirely."""
    if changes.get("_target_", base.get("_target_")) != base.get("_target_"):
        return deepcopy(changes)
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _select(tree: dict[str, Any], key: str) -> Any:
    value: Any = tree
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value
