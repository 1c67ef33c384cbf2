"""The project's own format: safetensors, and a JSON ("card") with the architecture and the front end.

The card is written twice: beside the tensors, where people can read it, and into the tensors' file, so that it cannot
get lost.
"""

import importlib
import inspect
import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speech2face.errors import UserError
from speech2face.files import atomic
from speech2face.weights.card import model_card
from speech2face.weights.formats import format_of
from speech2face.weights.locate import OUR_CARD, OUR_TENSORS
from speech2face.weights.part import Description, Part
from speech2face.weights.shards import INDEX

FORMAT = 1
PREPROCESSING = "speech2face.preprocessing"
RUN_SETTINGS = ("offset", "max_seconds", "silence_dbfs", "track", "channel", "require_speech", "max_pixels")
ESTIMATES = "estimates."  # prefix of their names
ESTIMATES_SHAPES = {"sex": (4097,), "age": (4097,), "age_errors": (2,)}
MOST_WINDOWS = 16  # windows of a clip that weights may ask for


def save(
    directory: Path,
    tensors: dict[str, torch.Tensor],
    card: dict[str, Any],
    estimates: dict[str, np.ndarray] | None = None,
) -> None:
    """Write model.safetensors and speech2face.json atomically into an existing directory.

    estimates: the numbers of speech2face.inference.estimates. Weights with a record of their training also get a
    README.md. Raises OSError if a file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = tensors | {f"{ESTIMATES}{name}": torch.from_numpy(one) for name, one in (estimates or {}).items()}
    text = json.dumps({"format": FORMAT} | card, indent=2)
    with atomic(directory / OUR_TENSORS) as partial:
        try:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, {"speech2face": text})
        except SafetensorError as error:  # not a subclass of OSError
            raise OSError(f"{directory / OUR_TENSORS}: {error}") from None
    with atomic(directory / OUR_CARD) as partial:
        partial.write_text(text + "\n")
    if "training" in card:
        with atomic(directory / "README.md") as partial:
            partial.write_text(model_card(card))


def take_estimates(tensors: dict[str, torch.Tensor], path: Path) -> dict[str, np.ndarray]:
    """Remove the numbers of speech2face.inference.estimates from the tensors of a file, and return them.

    Raises UserError for numbers of another shape, and for values that are not finite.
    """
    names = [name for name in tensors if name.startswith(ESTIMATES)]
    found = {name.removeprefix(ESTIMATES): tensors.pop(name).float().numpy() for name in names}
    for name, numbers in found.items():
        if numbers.shape != ESTIMATES_SHAPES.get(name) or not np.isfinite(numbers).all():
            raise UserError(f"{path}: damaged weights: {ESTIMATES}{name} is no estimate")
    if ("age" in found) != ("age_errors" in found):
        raise UserError(f"{path}: damaged weights: the estimate of the age is not complete")
    return found


def read_card(path: Path) -> dict[str, Any] | None:
    """Read the card inside a safetensors file; None if there is none. Raises UserError if it is damaged.

    path: of a file in any format, or of the index of a sharded checkpoint, which has none.
    """
    if path.name.endswith(INDEX) or format_of(path) != "safetensors":
        return None
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get("speech2face")
    try:
        return json.loads(text) if text else None
    except ValueError:
        raise UserError(f"{path}: the description in it is damaged") from None


def check_card(card: dict[str, Any], path: Path, part: Part, trusted: Collection[str]) -> Description | None:
    """Check a card and return the front end that it brings, or None.

    Raises UserError for a card of another class than the part's, and for one that names a class outside this package's
    preprocessing and `trusted`.
    """
    where = f"description of {path}"
    try:
        known, found = card["format"], card["architecture"]["_target_"]
        preprocessing, arguments = card["preprocessing"], dict(card["architecture"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{where}: not one of ours") from None
    if known != FORMAT:
        raise UserError(f"{where}: format {known} is not known here, only {FORMAT}")
    if found != part.model["_target_"]:
        raise UserError(f"{part.slot}.weights={path}: weights of {found}, not of {part.slot}={part.option}")
    del arguments["_target_"]
    check_harmless(arguments, where, ())
    if preprocessing is None:
        return None
    if not isinstance(preprocessing, dict):
        raise UserError(f"{where}: its preprocessing is not a mapping")
    check_harmless(preprocessing, where, trusted)
    outer = preprocessing.get("_target_")
    if outer not in trusted and not hasattr(preprocessing_class(outer), "modality"):
        raise UserError(f"{where}: {outer} is no preprocessing")
    return without_run_settings(preprocessing)


def without_run_settings(preprocessing: Description) -> Description:
    """A front end without the settings that belong to a run: the part of a recording to use, and limits on files.

    `windows` is kept from 2 to MOST_WINDOWS, because a network of short windows needs several of a clip. One window is
    the default of every run.
    """
    kept = {key: value for key, value in preprocessing.items() if key not in RUN_SETTINGS}
    if kept.get("windows") not in range(2, MOST_WINDOWS + 1):
        kept.pop("windows", None)
    return kept


def check_harmless(value: object, where: str, trusted: Collection[str]) -> None:
    """Check that instantiating a value from a card runs no foreign code.

    Raises UserError for a `_target_` outside speech2face.preprocessing and `trusted`, for Hydra's other special keys,
    and for interpolations.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            if str(key).startswith("_") and not (key == "_target_" and (item in trusted or preprocessing_class(item))):
                raise UserError(f"{where}: {key}={item} is refused: it may only name this package's preprocessing")
            check_harmless(item, where, trusted)
    elif isinstance(value, list):
        for item in value:
            check_harmless(item, where, trusted)
    elif isinstance(value, str) and "${" in value:
        raise UserError(f"{where}: {value} is refused: it may not interpolate")


def preprocessing_class(target: object) -> type | None:
    """The class that `target` names, if a module of speech2face.preprocessing defines it, else None."""
    module, _, name = str(target).rpartition(".")
    if not re.fullmatch(re.escape(PREPROCESSING) + r"\.[a-z_]+", module):
        return None
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None
    return found if inspect.isclass(found) and found.__module__ == module else None
