"""Recognise the layout of weights by their tensors, and check that they fit a network."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from hydra.utils import get_class, instantiate
from torch import nn
from torch.overrides import TorchFunctionMode

from speech2face.errors import UserError
from speech2face.weights.layout import Layout, Tensors
from speech2face.weights.locate import Located
from speech2face.weights.part import Part

if TYPE_CHECKING:
    from types import ModuleType


@dataclass
class Weights:
    """Tensors under the network's names, and what comes with them: its arguments, a front end, a layout's name."""

    tensors: Tensors
    architecture: dict[str, Any]
    preprocessing: dict[str, Any] | None
    layout: str
    card: dict[str, Any] | None = None


class Unfilled(TorchFunctionMode):
    """Modules built under it have shapes and no values: on the meta device, initialisation passed over.

    (On that device even a random fill that does nothing would import torch's compiler, for over a second.)
    """

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.__name__ in ("normal_", "uniform_"):
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))

    @classmethod
    def build(cls, architecture: dict[str, Any]) -> nn.Module:
        with torch.device("meta"), cls():
            return instantiate(architecture)


def recognise(tensors: Tensors, part: Part, located: Located) -> Weights:
    """Tensors in the network's own names, or in a published layout of it.

    Raises UserError that names what was expected and what was found.
    """
    path, name = located.file, f"{part.slot}={part.option}"
    expected = checked(Unfilled.build, part.model, name).state_dict()
    if shapes(expected) == shapes(tensors):
        return Weights(tensors, {}, None, "the configured model's own state dict")
    layouts: tuple[Layout, ...] = getattr(get_class(part.model["_target_"]), "layouts", ())
    for layout in layouts:
        renamed = layout.rename(tensors)
        if renamed is None:
            continue
        if missing := [one for one in layout.needs if one not in renamed]:
            raise UserError(f"{path}: looks like {layout.name}, but has no {', '.join(missing)}")
        try:
            weights = Weights(layout.convert(renamed), layout.architecture(renamed), layout.preprocessing, layout.name)
        except (KeyError, IndexError, ValueError) as error:
            raise UserError(
                f"{path}: looks like {layout.name}, but its tensors do not fit together ({error})"
            ) from None
        if layout.config and "config" in located.beside:
            weights.architecture |= layout.config(located.beside["config"])
        if layout.extractor and "feature_extractor" in located.beside:
            features = weights.preprocessing["features"] | layout.extractor(located.beside["feature_extractor"])
            weights.preprocessing = weights.preprocessing | {"features": features}
        return weights
    for family, layout in package_layouts():
        renamed = layout.rename(tensors)
        if renamed is not None and all(one in renamed for one in layout.needs):
            raise UserError(
                f"{part.slot}.weights={path}: this is a {layout.name} checkpoint ({family}), not one for {name}"
            )
    if len(expected.keys() & tensors.keys()) > len(expected) / 2:
        difference = _difference(shapes(expected), shapes(tensors))
        hint = f"if it is of another size, set that by {part.slot}.model."
        raise UserError(f"{path}: does not fit {name}: {difference}; {hint}")
    raise UserError(
        f"{path}: fits no layout that {name} can read; expected {_sample(expected)}, or a published layout "
        f"({', '.join(layout.name for layout in layouts) or 'none'}); found {_sample(tensors)}"
    )


def package_layouts() -> list[tuple[str, Layout]]:
    """Every published layout that this package knows, with its family, to name one that was given to another part."""
    from speech2face import decoders, encoders

    modules: list[ModuleType] = [
        importlib.import_module(f"{room.__name__}.{one.name}")
        for room in (encoders, decoders)
        for one in pkgutil.iter_modules(room.__path__)
    ]
    return [
        (module.__name__.rpartition(".")[2], value)
        for module in modules
        for value in vars(module).values()
        if isinstance(value, Layout)
    ]


def check_fit(expected: dict[str, Any], tensors: Tensors, architecture: dict[str, Any], path: Path) -> None:
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_meta or not (tensor.is_floating_point() or tensor.ndim == 0):
            raise UserError(
                f"{path}: {name} is {tensor.dtype}, {tensor.layout}: only plain floating-point weights are read"
            )
    if expected != shapes(tensors):
        raise UserError(f"{path}: does not fit {architecture['_target_']}: {_difference(expected, shapes(tensors))}")


def checked(build: Callable[[dict[str, Any]], nn.Module], architecture: dict[str, Any], name: str) -> nn.Module:
    try:
        return build(architecture)
    except Exception as error:  # whatever a class makes of arguments that it was not made for
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        raise UserError(f"{name}: {architecture['_target_']} cannot be built so: {reason}") from None


def _difference(expected: dict[str, Any], found: dict[str, Any]) -> str:
    wrong = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    first = [f"{name}: expected {expected.get(name, 'none')}, found {found.get(name, 'none')}" for name in wrong[:3]]
    return "; ".join(first) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else "")


def shapes(tensors: Tensors) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _sample(tensors: Tensors) -> str:
    named = [f"{name} {shape}" for name, shape in shapes(tensors).items()]
    return ", ".join(named[:4]) + (f", ... ({len(named)} tensors)" if len(named) > 4 else "")
