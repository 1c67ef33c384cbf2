"""Build a part of the pipeline on its weights, and say what they bring along."""

import importlib
import inspect
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from torch import nn
from torch.overrides import TorchFunctionMode

from speech2face.errors import UserError
from speech2face.weights.layouts import LAYOUTS
from speech2face.weights.locate import OUR_CARD, OUR_TENSORS, Located
from speech2face.weights.read import read_tensors

FORMAT = 1


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
    file: what the tensors came from (None: random).
    """

    model: nn.Module
    architecture: dict[str, Any]
    brought: dict[str, Any]
    preprocessing: dict[str, Any] | None
    layout: str
    file: Path | None


def load(
    part: str, choice: str, architecture: dict[str, Any], located: Located, explicit: dict[str, Any] | None = None
) -> Loaded:
    """Load weights into the model that `architecture` names.

    part: "encoder" or "decoder"; choice: its option's name, for messages. architecture: _target_ and arguments as
    configured.
    explicit: arguments that the user set and that win over those of the weights.
    Raises UserError for weights that are damaged or of another model.
    """
    path, beside = located.file, located.beside
    if path is None:
        return Loaded(instantiate(architecture).eval().requires_grad_(False), architecture, {}, None, "random", None)
    tensors = read_tensors(path)
    if "card" in beside:
        card = check_card(beside["card"], path, part, choice, architecture)
        brought, preprocessing, layout = card["architecture"], card.get("preprocessing"), "ours"
    else:
        tensors, brought, preprocessing, layout = recognise(tensors, path, part, choice, architecture)
        if preprocessing and "feature_extractor" in beside:
            preprocessing = _with_feature_extractor(preprocessing, beside["feature_extractor"])
    architecture = architecture | brought | (explicit or {})
    return Loaded(assign(architecture, tensors, path), architecture, brought, preprocessing, layout, path)


def recognise(
    tensors: dict[str, torch.Tensor], path: Path, part: str, choice: str, architecture: dict[str, Any]
) -> tuple[dict[str, torch.Tensor], dict[str, Any], dict[str, Any] | None, str]:
    """Tensors under the model's names, the arguments they imply, their front end, and the name of their layout.

    Raises UserError naming what was expected and what was found.
    """
    expected = _Unfilled.build(architecture).state_dict()
    if _shapes(expected) == _shapes(tensors):
        return tensors, {}, None, "the configured model's own state dict"
    for layout in LAYOUTS:
        renamed = layout.rename(tensors)
        if renamed is None:
            continue
        if layout.target != architecture["_target_"]:
            kind = layout.target.split(".")[-2]
            raise UserError(
                f"{part}.weights={path}: this is a {layout.name} checkpoint ({kind}), not one for {part}={choice}"
            )
        try:
            return layout.convert(renamed), layout.architecture(renamed), layout.preprocessing, layout.name
        except (KeyError, IndexError, ValueError) as error:
            raise UserError(
                f"{path}: looks like {layout.name}, but its tensors do not fit together ({error})"
            ) from None
    raise UserError(
        f"{path}: fits no layout that {part}={choice} can read; expected {_sample(expected)}, or a published layout "
        f"({', '.join(layout.name for layout in LAYOUTS if layout.target == architecture['_target_']) or 'none'}); "
        f"found {_sample(tensors)}"
    )


def assign(architecture: dict[str, Any], tensors: dict[str, torch.Tensor], path: Path) -> nn.Module:
    """The model with `tensors` as its own, neither initialised nor copied; fp16 and bf16 become fp32.

    Raises UserError where names or shapes differ.
    """
    try:
        model = _Unfilled.build(architecture)
    except Exception as error:
        raise UserError(f"{path}: no model can be built as it says: {' '.join(str(error).split())[:300]}") from None
    expected, found = _shapes(model.state_dict()), _shapes(tensors)
    if expected != found:
        wrong = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
        name = wrong[0]
        raise UserError(
            f"{path}: {len(wrong)} of {len(expected)} tensors do not fit {architecture['_target_']}; "
            f"{name}: expected {expected.get(name, 'none')}, found {found.get(name, 'none')}"
        )
    model.load_state_dict(tensors, assign=True)
    if any(tensor.is_meta for tensor in itertools.chain(model.parameters(), model.buffers())):
        model = instantiate(architecture)  # buffers outside the state dict need their real values
        model.load_state_dict(tensors, assign=True)
    return model.float().eval().requires_grad_(False)


def check_card(
    card: dict[str, Any], path: Path, part: str, choice: str, architecture: dict[str, Any]
) -> dict[str, Any]:
    """The JSON of our format, refused unless it is of this model and names no code but this package's preprocessing."""
    file = path.with_name(OUR_CARD)
    try:
        target = card["architecture"]["_target_"]
        if card["format"] != FORMAT:
            raise UserError(f"{file}: format {card['format']} is not known here, only {FORMAT}")
    except (KeyError, TypeError):
        raise UserError(f"{file}: not a description of weights of ours") from None
    if target != architecture["_target_"]:
        raise UserError(f"{part}.weights={path.parent}: weights of {target}, not of {part}={choice}")
    check_harmless({k: v for k, v in card["architecture"].items() if k != "_target_"}, file)
    check_harmless(card.get("preprocessing"), file)
    return card


def check_harmless(value: Any, file: Path) -> None:
    """Refuse a `_target_` that is not a class of speech2face.preprocessing, and interpolations."""
    if isinstance(value, dict):
        for key, item in value.items():
            if str(key).startswith("_") and not (key == "_target_" and _is_preprocessing(item)):
                raise UserError(
                    f"{file}: {key}={item} is refused: a checkpoint may only name this package's preprocessing"
                )
            check_harmless(item, file)
    elif isinstance(value, list):
        for item in value:
            check_harmless(item, file)
    elif isinstance(value, str) and "${" in value:
        raise UserError(f"{file}: {value} is refused: a checkpoint may not interpolate")


def _is_preprocessing(target: Any) -> bool:
    module, _, name = str(target).rpartition(".")
    package = "speech2face.preprocessing"
    if (
        module.rpartition(".")[0] != package
        or not Path(__file__).parents[1].joinpath("preprocessing", module.rpartition(".")[2] + ".py").exists()
    ):
        return False
    found = getattr(importlib.import_module(module), name, None)
    return inspect.isclass(found) and found.__module__ == module


def _with_feature_extractor(preprocessing: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The filter bank as a Hugging Face feature extractor's JSON has it."""
    names = {"mean": "mean", "std": "std", "max_length": "max_frames", "num_mel_bins": "mel_bins"}
    brought = {
        ours: settings[theirs] for theirs, ours in names.items() if isinstance(settings.get(theirs), int | float)
    }
    return preprocessing | {"features": preprocessing["features"] | brought}


def save(directory: Path, part: str, loaded: Loaded) -> None:
    """Write a part in our format: safetensors and the JSON that describes it. The directory must exist."""
    import json

    from safetensors.torch import save_file

    tensors = {name: tensor.contiguous() for name, tensor in loaded.model.state_dict().items()}
    card = {
        "format": FORMAT,
        "part": part,
        "architecture": loaded.architecture,
        "preprocessing": loaded.preprocessing,
        "source": {"layout": loaded.layout, "file": loaded.file.name if loaded.file else None},
    }
    for name, write in (
        (OUR_TENSORS, lambda file: save_file(tensors, file)),
        (OUR_CARD, lambda file: file.write_text(json.dumps(card, indent=2) + "\n")),
    ):
        partial = directory / f".{name}.partial"
        write(partial)
        partial.replace(directory / name)


def _shapes(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _sample(tensors: dict[str, torch.Tensor]) -> str:
    shapes = [f"{name} {shape}" for name, shape in _shapes(tensors).items()]
    return ", ".join(shapes[:4]) + (f", ... ({len(shapes)} tensors)" if len(shapes) > 4 else "")
