"""Build a part of the pipeline on its weights, and say what they bring along."""

import itertools
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from torch import nn
from torch.overrides import TorchFunctionMode

from speech2face.errors import UserError
from speech2face.weights import hugging_face
from speech2face.weights.layouts import LAYOUTS, TRANSFORMERS_AST
from speech2face.weights.locate import Located
from speech2face.weights.ours import check_card, read_card
from speech2face.weights.read import read_tensors


class _Unfilled(TorchFunctionMode):
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


@dataclass
class Loaded:
    """A part on its weights, in evaluation mode on the CPU.

    architecture: _target_ and arguments that the model was built with; brought: those of them that the weights say.
    preprocessing: the front end that the weights were trained with, where it is known.
    untrained: random, now or when they were converted. training: what ours noted of itself, where it made them.
    """

    model: nn.Module
    architecture: dict[str, Any]
    brought: dict[str, Any]
    preprocessing: dict[str, Any] | None
    layout: str
    untrained: bool
    training: dict[str, Any] | None = None


def load(
    part: str,
    choice: str,
    architecture: dict[str, Any],
    located: Located,
    explicit: dict[str, Any] | None = None,
    trusted: Collection[str] = (),
) -> Loaded:
    """Load weights into the model that `architecture` names.

    part: "encoder" or "decoder"; choice: its option's name, for messages. architecture: _target_ and arguments as
    configured.
    explicit: arguments that the user set and that win over those of the weights.
    trusted: classes that the front end which the weights bring may name beside this package's preprocessing.
    Raises UserError for weights that are damaged or of another model.
    """
    path = located.file
    if path is None:
        model = _checked(instantiate, architecture, "random weights")
        return Loaded(model.eval().requires_grad_(False), architecture, {}, None, "random", untrained=True)
    tensors = read_tensors(path)
    card = located.beside.get("card") or read_card(path)
    if card:
        preprocessing = check_card(card, path, part, choice, architecture["_target_"], trusted)
        brought, layout = card["architecture"], "ours"
    else:
        tensors, brought, preprocessing, layout = recognise(tensors, path, part, choice, architecture)
        if layout == TRANSFORMERS_AST.name and "config" in located.beside:
            brought = brought | hugging_face.architecture(located.beside["config"])
        if layout == TRANSFORMERS_AST.name and "feature_extractor" in located.beside:
            features = preprocessing["features"] | hugging_face.filter_bank(located.beside["feature_extractor"])
            preprocessing = preprocessing | {"features": features}
    architecture = architecture | brought | (explicit or {})
    model = assign(architecture, tensors, path)
    untrained = bool(card and card.get("untrained"))
    return Loaded(model, architecture, brought, preprocessing, layout, untrained, card and card.get("training"))


def recognise(
    tensors: dict[str, torch.Tensor], path: Path, part: str, choice: str, architecture: dict[str, Any]
) -> tuple[dict[str, torch.Tensor], dict[str, Any], dict[str, Any] | None, str]:
    """Tensors under the model's names, the arguments they imply, their front end, and the name of their layout.

    Raises UserError naming what was expected and what was found.
    """
    expected = _checked(_Unfilled.build, architecture, f"{part}={choice}").state_dict()
    if _shapes(expected) == _shapes(tensors):
        return tensors, {}, None, "the configured model's own state dict"
    for layout in LAYOUTS:
        renamed = layout.rename(tensors)
        if renamed is None:
            continue
        missing = [name for name in layout.needs if name not in renamed]
        if layout.target != architecture["_target_"]:
            if missing:
                continue
            kind = layout.target.split(".")[-2]
            raise UserError(
                f"{part}.weights={path}: this is a {layout.name} checkpoint ({kind}), not one for {part}={choice}"
            )
        if missing:
            raise UserError(f"{path}: looks like {layout.name}, but has no {', '.join(missing)}")
        try:
            return layout.convert(renamed), layout.architecture(renamed), layout.preprocessing, layout.name
        except (KeyError, IndexError, ValueError) as error:
            raise UserError(
                f"{path}: looks like {layout.name}, but its tensors do not fit together ({error})"
            ) from None
    if len(expected.keys() & tensors.keys()) > len(expected) / 2:
        difference = _difference(_shapes(expected), _shapes(tensors))
        hint = f"if it is of another size, set that by {part}.model."
        raise UserError(f"{path}: does not fit {part}={choice}: {difference}; {hint}")
    raise UserError(
        f"{path}: fits no layout that {part}={choice} can read; expected {_sample(expected)}, or a published layout "
        f"({', '.join(layout.name for layout in LAYOUTS if layout.target == architecture['_target_']) or 'none'}); "
        f"found {_sample(tensors)}"
    )


def assign(architecture: dict[str, Any], tensors: dict[str, torch.Tensor], path: Path) -> nn.Module:
    """The model with `tensors` as its own, neither initialised nor copied; fp16 and bf16 become fp32.

    Raises UserError where names or shapes differ.
    """
    model = _checked(_Unfilled.build, architecture, str(path))
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_meta or not (tensor.is_floating_point() or tensor.ndim == 0):
            raise UserError(
                f"{path}: {name} is {tensor.dtype}, {tensor.layout}: only plain floating-point weights are read"
            )
    expected, found = _shapes(model.state_dict()), _shapes(tensors)
    counters = [name for name in expected.keys() - found.keys() if name.endswith(".num_batches_tracked")]
    # Weights may be older than these counters, which only training uses.
    tensors = tensors | {name: torch.tensor(0) for name in counters}
    found |= dict.fromkeys(counters, ())
    if expected != found:
        raise UserError(f"{path}: does not fit {architecture['_target_']}: {_difference(expected, found)}")
    model.load_state_dict(tensors, assign=True)
    if any(tensor.is_meta for tensor in itertools.chain(model.parameters(), model.buffers())):
        model = instantiate(architecture)  # buffers outside the state dict need their real values
        model.load_state_dict(tensors, assign=True)
    return model.float().eval().requires_grad_(False)


def _checked(build: Callable[[dict[str, Any]], nn.Module], architecture: dict[str, Any], name: str) -> nn.Module:
    try:
        return build(architecture)
    except Exception as error:  # whatever a class makes of arguments that it was not made for
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        raise UserError(f"{name}: {architecture['_target_']} cannot be built so: {reason}") from None


def _difference(expected: dict[str, Any], found: dict[str, Any]) -> str:
    wrong = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    first = [f"{name}: expected {expected.get(name, 'none')}, found {found.get(name, 'none')}" for name in wrong[:3]]
    return "; ".join(first) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else "")


def _shapes(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _sample(tensors: dict[str, torch.Tensor]) -> str:
    shapes = [f"{name} {shape}" for name, shape in _shapes(tensors).items()]
    return ", ".join(shapes[:4]) + (f", ... ({len(shapes)} tensors)" if len(shapes) > 4 else "")
