"""Recognise the layout of weights by their tensors, and check that they fit a network."""

import importlib
import pkgutil
from collections.abc import Callable, Sequence
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
from speech2face.weights.part import Description, Part

if TYPE_CHECKING:
    from types import ModuleType


@dataclass
class Weights:
    """Weights as they are read from a file.

    tensors: under the network's names. architecture: arguments of the network that the weights bring.
    preprocessing: the front end that they bring. layout: its name. card: the card of our format.
    """

    tensors: Tensors
    architecture: Description
    preprocessing: Description | None
    layout: str
    card: dict[str, Any] | None = None


class Unfilled(TorchFunctionMode):
    """Mode in which modules are built with shapes but no values: on the meta device, without initialisation.

    Without this mode even a random fill on the meta device, which does nothing, would import torch's compiler. That
    takes over a second.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        if function.__name__ in ("normal_", "uniform_"):
            return args[0] if args else kwargs["tensor"]
        return function(*args, **(kwargs or {}))

    @classmethod
    def build(cls, architecture: Description) -> nn.Module:
        """Instantiate a network without values."""
        with torch.device("meta"), cls():
            return instantiate(architecture)


def recognise(tensors: Tensors, part: Part, located: Located) -> Weights:
    """Recognise tensors as the network's own state dict or as one of its published layouts.

    Raises UserError, with the expected and found names, if they are neither.
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
    """All published layouts of this package as (family, layout), to name the layout of weights of another part."""
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


def check_fit(expected: dict[str, tuple[int, ...]], tensors: Tensors, architecture: Description, path: Path) -> None:
    """Raise UserError unless the tensors are plain numbers with the expected names and shapes."""
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_meta or not (tensor.is_floating_point() or tensor.ndim == 0):
            raise UserError(
                f"{path}: {name} is {tensor.dtype}, {tensor.layout}: only plain floating-point weights are read"
            )
    if expected != shapes(tensors):
        raise UserError(f"{path}: does not fit {architecture['_target_']}: {_difference(expected, shapes(tensors))}")


def checked(build: Callable[[Description], nn.Module], architecture: Description, name: str) -> nn.Module:
    """Build a network. Raises UserError, beginning with `name`, if its class does not accept the arguments."""
    try:
        return build(architecture)
    except Exception as error:  # a class can raise anything for arguments that it does not expect
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        raise UserError(f"{name}: {architecture['_target_']} cannot be built so: {reason}") from None


def _difference(expected: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]) -> str:
    wrong = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    first = [f"{name}: expected {expected.get(name, 'none')}, found {found.get(name, 'none')}" for name in wrong[:3]]
    return "; ".join(first) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else "")


def shapes(tensors: Tensors) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor by name."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _sample(tensors: Tensors) -> str:
    named = [f"{name} {shape}" for name, shape in shapes(tensors).items()]
    return ", ".join(named[:4]) + (f", ... ({len(named)} tensors)" if len(named) > 4 else "")
