"""Choose the state dict of a checkpoint that fits a part, and remove prefixes from its names."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from speech2face.errors import UserError
from speech2face.weights.layout import Tensors
from speech2face.weights.locate import KEY, Located
from speech2face.weights.part import Part
from speech2face.weights.recognise import Unfilled, Weights, checked, explain, fits, match

log = logging.getLogger(__name__)
DEEPEST = 8  # most components of a prefix


@dataclass
class Found:
    """Tensors of a checkpoint that are weights of the part.

    key: the key of their state dict, then their prefix in it, such as "state_dict.model". others: names of the other
    tensors of the state dict.
    """

    key: str
    weights: Weights
    others: list[str]


def choose(state_dicts: dict[str, Tensors], part: Part, located: Located) -> Weights:
    """Find the weights of a part among the state dicts of a file, in any layout that the part can read.

    state_dicts: by key. Names are tried unchanged first and then without their first components, because wrappers and
    trainers add prefixes such as module. and model. Raises UserError if nothing fits, with the expected and the found
    names, and if several different state dicts fit.
    """
    named = f"{part.slot}.weights={located.weights}"
    expected = checked(Unfilled.build, part.model, f"{part.slot}={part.option}").state_dict()
    found = [
        Found(_joined(key, prefix[:-1]), weights, others + [name for name in tensors if not name.startswith(prefix)])
        for key, tensors in state_dicts.items()
        for prefix, weights, others in _search(tensors, part, located, expected)
    ]
    if not found:
        explain(max(state_dicts.values(), key=len), part, located, expected)
    if len(found) > 1:
        found = _settle(found, part, located)
    if len(found) > 1:
        file = located.weights.removesuffix(f"{KEY}{located.key}")
        keys = [_joined(located.key or "", one.key) for one in found]
        ways = " or ".join(f"{part.slot}.weights={file}{KEY}{key}" for key in keys[:4])
        raise UserError(f"{named}: {len(found)} state dicts in it fit and differ; choose one by {ways}")
    (chosen,) = found
    if chosen.key:
        log.info("%s: the weights are those under %s", named, chosen.key)
    if chosen.others:
        log.warning("%s: not read, because they are outside the network: %s", named, _listed(chosen.others))
    return chosen.weights


def select(state_dicts: dict[str, Tensors], key: str, located: Located) -> dict[str, Tensors]:
    """The state dicts below a key, which is removed from their keys and names. Raises UserError if there are none.

    key: keys of nested dictionaries and then components of a prefix, joined by dots.
    """
    selected: dict[str, Tensors] = {}
    for one, tensors in state_dicts.items():
        if key in ("", one):
            selected["" if key else one] = tensors
        elif one.startswith(f"{key}."):
            selected[one.removeprefix(f"{key}.")] = tensors
        elif not one or key.startswith(f"{one}."):
            prefix = key.removeprefix(f"{one}." if one else "") + "."
            if below := {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}:
                selected[""] = below
    if not selected:
        names = (_joined(one, name) for one, tensors in state_dicts.items() for name in tensors)
        keys = list(dict.fromkeys(name.partition(".")[0] for name in names))
        raise UserError(f"{located.file}: no tensors under {key} in it, but under {_listed(keys)}")
    return selected


def _search(
    tensors: Tensors, part: Part, located: Located, expected: Tensors, prefix: str = "", depth: int = 0
) -> Iterator[tuple[str, Weights, list[str]]]:
    """Find all weights of the part among tensors, with and without the first components of their names.

    Yields the prefix that was removed, the weights, and the names of the other tensors with this prefix.
    """
    if found := match(tensors, part, located, expected):
        weights, others = found
        yield prefix, weights, [f"{prefix}{name}" for name in others]
        tensors = {name: tensors[name] for name in others}
    below: dict[str, Tensors] = {}
    for name, tensor in tensors.items():
        first, dot, rest = name.partition(".")
        if dot and depth < DEEPEST:
            below.setdefault(first, {})[rest] = tensor
    for first, ones in below.items():
        yield from _search(ones, part, located, expected, f"{prefix}{first}.", depth + 1)


def _settle(found: list[Found], part: Part, located: Located) -> list[Found]:
    """Reduce several findings to those that may be meant: the one that the user chose, or those that fit best."""
    if located.key is not None and found[0].key == "":
        return found[:1]
    first, *others = [one for one in found if fits(one.weights, part)] or found
    return [first, *(one for one in others if not _equal(one.weights.tensors, first.weights.tensors))]


def _equal(a: Tensors, b: Tensors) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def _joined(*keys: str) -> str:
    return ".".join(key for key in keys if key)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
