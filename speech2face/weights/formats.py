"""Recognise the format of a file of weights by its first bytes, whatever its name is."""

import zipfile
import zlib
from pathlib import Path
from typing import Literal

from speech2face.errors import UserError

Format = Literal["torch", "safetensors", "keras", "dlib"]
HDF5, ZIP = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"
DLIB = b"\x01\x01\x01\x0dloss_metric_"
TORCH_PROTOCOL = b"\x02"  # the pickle protocol of torch.save
LONGEST_HEADER = 100_000_000  # bytes; the limit of safetensors
# Usual suffixes of such files. They show what a damaged file was meant to be, and that a name is not a hub id.
TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".tar", ".pkl", ".model")
KERAS_SUFFIXES = (".h5", ".hdf5")
DLIB_SUFFIX = ".dat"
SUFFIXES = (".safetensors", *TORCH_SUFFIXES, *KERAS_SUFFIXES, DLIB_SUFFIX)
NAMES = {
    "torch": "a PyTorch checkpoint",
    "safetensors": "a safetensors file",
    "keras": "a Keras file",
    "dlib": "a face descriptor of dlib",
}
READ = "PyTorch checkpoints, .safetensors, Keras .h5, and dlib's face descriptor"
MISTAKEN = {  # first bytes of files that are often mistaken for weights, and what they are
    b"version https://git-lfs": "a pointer of Git LFS: `git lfs pull` fetches the file itself",
    b"<": "a web page, not the file itself",
    b"\x1f\x8b": "compressed by gzip: unpack it first",
    b"\x80": "or a pickle that torch.save has not written: save the state_dict() with torch.save",
}


def format_of(path: Path) -> Format:
    """The format of a file. Raises UserError if it cannot be read or has another format."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: not a regular file")
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    if start.startswith(HDF5):
        return "keras"
    if start.startswith(DLIB):
        return "dlib"
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= LONGEST_HEADER:
        return "safetensors"
    if start.startswith(ZIP) or (start[:1] == b"\x80" and start[1:2] <= TORCH_PROTOCOL):
        return "torch"
    suffix = path.suffix.lower()
    because = next((f" ({why})" for first, why in MISTAKEN.items() if start.lstrip().startswith(first)), "")
    because = because if start else " (the file is empty)"
    if suffix not in SUFFIXES:
        raise UserError(f"{path}: no weights that can be read{because}; {READ} can, whatever their names are")
    meant = {".safetensors": "safetensors", DLIB_SUFFIX: "dlib"} | dict.fromkeys(KERAS_SUFFIXES, "keras")
    raise UserError(f"{path}: damaged, not {NAMES[meant.get(suffix, 'torch')]}{because}")


def why_no_checkpoint(path: Path) -> str | None:
    """Why an intact file with the first bytes of a PyTorch checkpoint cannot be loaded; None if the file is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            pickled = next((name for name in names if name.endswith("/data.pkl")), None)
            start = archive.open(pickled).read(2) if pickled else b""
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError):
        return None
    if any(name.endswith("/constants.pkl") for name in names):
        return "a TorchScript archive, whose code is not run; save its state_dict() and use that"
    if not pickled:
        return f"a ZIP archive without a PyTorch checkpoint in it, but {', '.join(names[:3]) or 'nothing'}"
    if start[:1] == b"\x80" and start[1:] > TORCH_PROTOCOL:
        return f"saved with pickle protocol {start[1]}, which cannot be read safely; save it with torch.save's own, 2"
    return None
