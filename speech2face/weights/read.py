"""Checkpoint files -> named tensors, memory-mapped and without running code from the file."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from speech2face.errors import UserError

# Training scripts save NumPy numbers beside the tensors. Building these runs no code from the file.
SAFE_GLOBALS = [np.dtype, np.ndarray, np._core.multiarray.scalar, np._core.multiarray._reconstruct] + [
    type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")
]


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a .safetensors, Keras .h5, or .pt/.pth/.bin/.ckpt file, by name.

    A PyTorch file may hold the state dict itself or nest it, as in {"model_state_dict": ...}. The tensors are views of
    the mapped file if its format allows. Raises UserError if the file is damaged or holds code or arbitrary objects.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    if path.suffix == ".h5":
        try:
            from speech2face.weights.keras import read_keras
        except ImportError:
            raise UserError(f"{path}: Keras files need h5py: pip install 'speech2face[convert]'") from None
        return read_keras(path)
    if path.suffix != ".safetensors":
        return find_state_dict(load_torch(path), path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path}: damaged, not a safetensors file ({error})") from None


def load_torch(path: Path) -> object:
    """torch.load, restricted to tensors and plain data. Memory-maps the file unless it is older than torch 1.6."""
    with torch.serialization.safe_globals(SAFE_GLOBALS):
        try:
            try:
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError as error:
                if "mmap can only be used" not in str(error):
                    raise
                return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            blocked = re.search(r"(?:GLOBAL|global|type) ([\w.]+)", str(error))
            if blocked and "." in blocked[1]:
                raise UserError(
                    f"{path}: holds {blocked[1]}, which only running its code could load; "
                    "save its state_dict alone and use that"
                ) from None
            raise UserError(f"{path}: damaged, not a PyTorch checkpoint") from None
        except (RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError, OSError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UserError(f"{path}: damaged, not a PyTorch checkpoint ({reason})") from None


def find_state_dict(content: object, path: Path) -> dict[str, torch.Tensor]:
    """The largest mapping of names to tensors in a checkpoint, without the prefixes of wrappers.

    The prefixes are module. (DataParallel) and _orig_mod. (torch.compile). Raises UserError if there are no tensors.
    """
    if not isinstance(content, Mapping):
        raise UserError(f"{path}: holds a {type(content).__name__}, not a state dict")
    best: dict[str, torch.Tensor] = {}
    pending = [content]
    while pending:
        mapping = pending.pop()
        pending += [value for value in mapping.values() if isinstance(value, Mapping)]
        tensors = {str(name): value for name, value in mapping.items() if isinstance(value, torch.Tensor)}
        best = tensors if len(tensors) > len(best) else best
    if not best:
        raise UserError(f"{path}: no tensors in it; found {', '.join(map(str, list(content)[:5])) or 'nothing'}")
    while prefix := next((p for p in ("module.", "_orig_mod.") if all(name.startswith(p) for name in best)), None):
        best = {name.removeprefix(prefix): tensor for name, tensor in best.items()}
    return best
