"""Our own format: safetensors, and a JSON ("card") that carries the architecture and the front end.

The card is written beside the tensors, for people, and into them, so that it cannot get lost.
"""

import importlib
import inspect
import json
import re
from pathlib import Path
from typing import Any

import torch

from speech2face.errors import UserError
from speech2face.files import atomic
from speech2face.weights.locate import OUR_CARD, OUR_TENSORS

FORMAT = 1
PREPROCESSING = "speech2face.preprocessing"


def save(directory: Path, tensors: dict[str, torch.Tensor], card: dict[str, Any]) -> None:
    """Write model.safetensors and speech2face.json into an existing directory, each whole or not at all."""
    from safetensors.torch import save_file

    text = json.dumps({"format": FORMAT} | card, indent=2)
    with atomic(directory / OUR_TENSORS) as partial:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, {"speech2face": text})
    with atomic(directory / OUR_CARD) as partial:
        partial.write_text(text + "\n")


def read_card(path: Path) -> dict[str, Any] | None:
    """The card inside a .safetensors file, None where there is none. Raises UserError for a damaged one."""
    if path.suffix != ".safetensors":
        return None
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get("speech2face")
    try:
        return json.loads(text) if text else None
    except ValueError:
        raise UserError(f"{path}: the description in it is damaged") from None


def check_card(card: Any, path: Path, part: str, choice: str, target: str) -> None:
    """Refuse a card unless it is of the class `target` and names no code but this package's preprocessing."""
    where = f"description of {path}"
    try:
        known, found = card["format"], card["architecture"]["_target_"]
        preprocessing, arguments = card["preprocessing"], dict(card["architecture"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{where}: not one of ours") from None
    if known != FORMAT:
        raise UserError(f"{where}: format {known} is not known here, only {FORMAT}")
    if found != target:
        raise UserError(f"{part}.weights={path}: weights of {found}, not of {part}={choice}")
    del arguments["_target_"]
    check_harmless(arguments, where)
    check_harmless(preprocessing, where)
    if preprocessing is not None and not hasattr(preprocessing_class(preprocessing.get("_target_")), "modality"):
        raise UserError(f"{where}: {preprocessing.get('_target_')} is no preprocessing")


def check_harmless(value: Any, where: str) -> None:
    """Refuse a `_target_` that is not a class of speech2face.preprocessing, Hydra's other keys, and interpolations."""
    if isinstance(value, dict):
        for key, item in value.items():
            if str(key).startswith("_") and not (key == "_target_" and preprocessing_class(item)):
                raise UserError(f"{where}: {key}={item} is refused: it may only name this package's preprocessing")
            check_harmless(item, where)
    elif isinstance(value, list):
        for item in value:
            check_harmless(item, where)
    elif isinstance(value, str) and "${" in value:
        raise UserError(f"{where}: {value} is refused: it may not interpolate")


def preprocessing_class(target: Any) -> type | None:
    """The class that `target` names, where a module of speech2face.preprocessing defines it."""
    module, _, name = str(target).rpartition(".")
    if not re.fullmatch(re.escape(PREPROCESSING) + r"\.[a-z_]+", module):
        return None
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None
    return found if inspect.isclass(found) and found.__module__ == module else None
