"""Files of weights -> named tensors, memory-mapped and without running code from the file."""

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch

from speech2face.errors import UserError, extra
from speech2face.weights.formats import NAMES, format_of, why_no_checkpoint
from speech2face.weights.layout import Tensors
from speech2face.weights.shards import INDEX, read_index, shards_of

Entry = TypeVar("Entry")
# Components that wrappers add to the names of tensors, which no network uses for its own.
WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")


class Inert:
    """Stands for an object of NumPy in a checkpoint: it keeps nothing of it and does nothing."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


for announced in ("Detected pickle protocol", "'torch.load' received a zip file that looks like a TorchScript"):
    warnings.filterwarnings("ignore", announced)  # the error that follows says it
# Training scripts save NumPy numbers, strings and arrays beside the tensors. NumPy 1 and 2 name them differently.
NUMPY = ["numpy.dtype", "numpy.ndarray"] + [
    f"numpy.{core}.{name}"
    for core in ("core", "_core")
    for name in ("multiarray.scalar", "multiarray._reconstruct", "numeric._frombuffer")
]


def read_state_dicts(path: Path) -> dict[str, Tensors]:
    """Read the state dicts of a file of any format: tensors by name, by the key of the state dict.

    A PyTorch file may nest them, as in {"model_state_dict": ...}. Their keys are those of the dictionaries that they
    are in, joined by dots; the key of the outermost one is "". Other formats have only this one.
    path: of the file, or of the index of a sharded checkpoint. Tensors are views of the mapped file if its format
    allows. Raises UserError if a file is damaged, lacks tensors of the index, or holds code or arbitrary objects.
    """
    if path.name.endswith(INDEX):
        return {"": _read_shards(path)}
    kind = format_of(path)
    if kind == "torch":
        return find_state_dicts(load_torch(path), path)
    if kind == "keras":
        try:
            from speech2face.weights.keras import read_keras
        except ImportError:
            raise UserError(f"{path}: Keras files need h5py: {extra('convert')}") from None
        return {"": read_keras(path)}
    if kind == "dlib":
        from speech2face.preprocessing.dlib_dat import read_dlib

        return {"": read_dlib(path)}
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return {"": _named(load_file(path))}
    except SafetensorError as error:
        raise UserError(f"{path}: damaged, not {NAMES[kind]} ({error})") from None


def _read_shards(index: Path) -> Tensors:
    tensors: Tensors = {}
    for shard in shards_of(index):
        tensors |= read_state_dicts(shard).get("", {})
    if missing := _named(read_index(index)).keys() - tensors.keys():
        raise UserError(f"{index}: its shards lack {', '.join(sorted(missing)[:3])} ({len(missing)} missing)")
    return tensors


def load_torch(path: Path) -> object:
    """torch.load, restricted to tensors and plain data. Memory-maps the file unless it is older than torch 1.6."""
    with torch.serialization.safe_globals([(Inert, name) for name in NUMPY]):
        try:
            try:
                if path.suffix != ".safetensors":  # torch would go by this suffix
                    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError as error:
                if "mmap can only be used" not in str(error):
                    raise
            with path.open("rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            blocked = re.search(r"(?:GLOBAL|global|type) ([\w.]+)", str(error))
            if blocked and "." in blocked[1]:
                raise UserError(
                    f"{path}: holds {blocked[1]}, which only running its code could load; "
                    "save its state_dict alone and use that"
                ) from None
            raise UserError(f"{path}: {why_no_checkpoint(path) or 'damaged, not a PyTorch checkpoint'}") from None
        except Exception as error:  # torch raises anything for damaged files
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            why = why_no_checkpoint(path) or f"damaged, not a PyTorch checkpoint ({reason})"
            raise UserError(f"{path}: {why}") from None


def find_state_dicts(content: object, path: Path) -> dict[str, Tensors]:
    """All mappings of a checkpoint that hold tensors, by key, the outer ones first. Raises UserError if none does."""
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: holds a {type(content).__name__}, not a state dict")
    found: dict[str, Tensors] = {}
    pending: list[tuple[str, Mapping]] = [("", content)]
    seen = {id(content)}  # a mapping may hold itself
    for key, mapping in pending:
        if tensors := {str(name): value for name, value in mapping.items() if isinstance(value, torch.Tensor)}:
            found[key] = _named(tensors)
        for name, value in mapping.items():
            if isinstance(value, Mapping) and id(value) not in seen:
                seen.add(id(value))
                pending.append((f"{key}.{name}" if key else str(name), value))
    if not found:
        raise UserError(f"{path}: no tensors in it; found {', '.join(map(str, list(content)[:5])) or 'nothing'}")
    return found


def _named(entries: dict[str, Entry]) -> dict[str, Entry]:
    """Entries by name, without the components that wrappers have put into the names."""
    return {WRAPPERS.sub("", name): entry for name, entry in entries.items()}
