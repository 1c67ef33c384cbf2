"""Recognise the layout of weights by their tensors, and check that they fit a network."""

import importlib
import pkgutil
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
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

MOST_OTHERS = 4  # modules beside the network, such as losses and projections, that are not read


@dataclass
class Weights:
    """Weights read from a file.

    tensors: under the network's names. architecture: arguments of the network that the weights bring.
    preprocessing: the front end that they bring. layout: its name. card: the card of our format.
    has_head: whether an encoder's head is among them. estimates: the numbers of speech2face.inference.estimates.
    """

    tensors: Tensors
    architecture: Description
    preprocessing: Description | None
    layout: str
    card: dict[str, Any] | None = None
    has_head: bool = True
    estimates: dict[str, np.ndarray] = field(default_factory=dict)


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
        get_class(architecture["_target_"])  # its module is imported here, so that tensors of the module have values
        with torch.device("meta"), cls():
            return instantiate(architecture)


def match(tensors: Tensors, part: Part, located: Located, expected: Tensors) -> tuple[Weights, list[str]] | None:
    """Recognise tensors as the network's own state dict or as one of its published layouts; None: they are neither.

    expected: the network's state dict as it is configured. The second value is the names of tensors outside the
    network, such as those of a loss. Raises UserError if a layout is recognised but does not fit together.
    """
    wanted = {name: shape for name, shape in shapes(expected).items() if name in tensors or not is_counter(name)}
    if wanted.keys() <= tensors.keys():
        own = {name: tensors[name] for name in wanted}
        others = [name for name in tensors if name not in own]
        if shapes(own) == wanted and _outside(others, own):
            return Weights(own, {}, None, "the configured model's own state dict"), others
    for layout in _layouts(part):
        if len(tensors) < len(layout.needs):
            continue
        renamed, others = layout.split(tensors)
        if all(one in renamed for one in layout.needs) and _outside(others, tensors.keys() - set(others)):
            return _apply(layout, renamed, located), others
    return None


def _outside(others: Collection[str], inside: Collection[str]) -> bool:
    """Whether a few modules beside those of a network, and none within them, hold the tensors named `others`."""
    modules = {name.partition(".")[0] for name in others}
    return len(modules) <= MOST_OTHERS and modules.isdisjoint(name.partition(".")[0] for name in inside)


def _layouts(part: Part) -> tuple[Layout, ...]:
    return getattr(get_class(part.model["_target_"]), "layouts", ())


def _apply(layout: Layout, renamed: Tensors, located: Located) -> Weights:
    """The weights that renamed tensors are, with what the JSON files beside them say."""
    try:
        weights = Weights(
            layout.convert(renamed),
            layout.architecture(renamed),
            layout.preprocessing,
            layout.name,
            has_head=layout.has_head,
        )
    except (KeyError, IndexError, ValueError) as error:
        raise UserError(
            f"{located.file}: looks like {layout.name}, but its tensors do not fit together ({error})"
        ) from None
    if layout.config and "config" in located.beside:
        weights.architecture |= layout.config(located.beside["config"])
    if layout.extractor and "feature_extractor" in located.beside:
        features = weights.preprocessing["features"] | layout.extractor(located.beside["feature_extractor"])
        weights.preprocessing = weights.preprocessing | {"features": features}
    return weights


def fits(weights: Weights, part: Part) -> bool:
    """Whether weights have all tensors of the network that they describe, in the right shapes."""
    architecture = part.model | weights.architecture if part.from_weights else part.model
    try:
        expected = shapes(checked(Unfilled.build, architecture, part.option).state_dict())
    except UserError:
        return False
    found = shapes(weights.tensors)
    return found == {name: shape for name, shape in expected.items() if name in found or not is_counter(name)}


def explain(tensors: Tensors, part: Part, located: Located, expected: Tensors) -> NoReturn:
    """Raise the UserError that says why tensors, of which `match` knows none, are no weights of a part."""
    path, name = located.file, f"{part.slot}={part.option}"
    namings = _namings(tensors)
    for layout in _layouts(part):
        for renamed in filter(None, map(layout.rename, namings)):
            missing = [one for one in layout.needs if one not in renamed]
            raise UserError(f"{path}: looks like {layout.name}, but has no {', '.join(missing)}")
    for family, layout in package_layouts():
        for renamed in filter(None, map(layout.rename, namings)):
            if all(one in renamed for one in layout.needs):
                raise UserError(
                    f"{part.slot}.weights={path}: this is a {layout.name} checkpoint ({family}), not one for {name}"
                )
    for named in namings:
        if len(expected.keys() & named.keys()) > len(expected) / 2:
            wrong = difference(shapes(expected), shapes(named))
            hint = f"if it is of another size, set that by {part.slot}.model."
            raise UserError(f"{path}: does not fit {name}: {wrong}; {hint}")
    raise UserError(
        f"{path}: fits no layout that {name} can read; expected {_sample(expected)}, or a published layout "
        f"({', '.join(layout.name for layout in _layouts(part)) or 'none'}); found {_sample(tensors)}"
    )


def _namings(tensors: Tensors) -> list[Tensors]:
    """Tensors with their names as they are, and without each prefix that most of them share."""
    namings = [tensors]
    while True:
        firsts = Counter(name.partition(".")[0] for name in namings[-1] if "." in name)
        first, number = max(firsts.items(), key=lambda item: item[1], default=("", 0))
        if number <= len(tensors) / 2:
            return namings
        namings.append(
            {name[len(first) + 1 :]: one for name, one in namings[-1].items() if name.startswith(f"{first}.")}
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
        raise UserError(f"{path}: does not fit {architecture['_target_']}: {difference(expected, shapes(tensors))}")


def checked(build: Callable[[Description], nn.Module], architecture: Description, name: str) -> nn.Module:
    """Build a network. Raises UserError, beginning with `name`, if its class does not accept the arguments."""
    try:
        return build(architecture)
    except Exception as error:  # a class can raise anything for arguments that it does not expect
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        raise UserError(f"{name}: {architecture['_target_']} cannot be built so: {reason}") from None


def difference(expected: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]) -> str:
    """The first names whose shapes differ, with both shapes, in one line."""
    wrong = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    first = [f"{name}: expected {expected.get(name, 'none')}, found {found.get(name, 'none')}" for name in wrong[:3]]
    return "; ".join(first) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else "")


def is_counter(name: str) -> bool:
    """Whether a tensor is a batch normalisation's count, which old checkpoints lack and only training uses."""
    return name.endswith(".num_batches_tracked")


def shapes(tensors: Tensors) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor by name."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _sample(tensors: Tensors) -> str:
    named = [f"{name} {shape}" for name, shape in shapes(tensors).items()]
    return ", ".join(named[:4]) + (f", ... ({len(named)} tensors)" if len(named) > 4 else "")
