"""Values passed from Python: samples of any kind -> floating point, and checked numbers."""

import math
from numbers import Real

import numpy as np
import torch

from speech2face.errors import UserError

WANTED = "a recording must be a path, or samples with their sample_rate"
FULL_SCALE = {"i1": 2**7, "i2": 2**15, "i4": 2**31, "u1": 2**7}  # by NumPy's code of an integer type


def check_number(option: str, value: object, least: float) -> None:
    """Raise UserError, naming the option, unless a value is a number of at least `least`, and whole if `least` is."""
    if not isinstance(value, type(least) | int) or isinstance(value, bool) or not least <= value < math.inf:
        kind = "a whole number" if isinstance(least, int) else "a number"
        raise UserError(f"preprocessing.{option}={value}: must be {kind}" + f", at least {least}" * (least > -math.inf))


def to_channels(source: object) -> np.ndarray:
    """Samples of any kind -> (channels, samples) floating point, nominally in [-1, 1].

    source: (samples,) or (channels, samples), as an array, a tensor, or lists of numbers.
        Floating point is returned unchanged. int8, int16 and int32 are divided by 2^7, 2^15 and 2^31. The zero of uint8
        is 128, as in WAV files. Other integers, such as a list of whole numbers, have no usual scale and are refused.
        int32 is refused if all values fit into 16 bits.

    Raises UserError for anything else.
    """
    samples = _array(source)
    if samples.ndim not in (1, 2) or not samples.size:
        raise UserError(f"samples must be (samples,) or (channels, samples), not {samples.shape}")
    samples = np.atleast_2d(samples)
    if samples.shape[0] > samples.shape[1]:
        raise UserError(f"samples must be (samples,) or (channels, samples), not {samples.shape}: transpose them")
    return _scaled(samples)


def to_rate(sample_rate: object) -> int:
    """A sample rate in Hz, as a number of any type -> int. Raises UserError if it is not a positive whole number."""
    if not isinstance(sample_rate, Real) or isinstance(sample_rate, bool):
        raise UserError(f"samples need their sample_rate in Hz, a number, not {sample_rate!r}")
    if not 1 <= sample_rate <= 2**31 or sample_rate != int(sample_rate):  # infinity has no int
        raise UserError(f"sample_rate={sample_rate}: must be a whole number of Hz, as of a recording")
    return int(sample_rate)


def _array(source: object) -> np.ndarray:
    """The source as a NumPy array of numbers."""
    kind = type(source).__name__
    if isinstance(source, torch.Tensor):
        try:
            source = source.detach().cpu()
            source = (source.float() if source.is_floating_point() else source).numpy()
        except (RuntimeError, TypeError, NotImplementedError) as error:
            line = " ".join(str(error).split())
            raise UserError(f"{WANTED}; this tensor has no samples in memory ({line})") from None
    if not (hasattr(source, "__array__") or isinstance(source, list | tuple)):  # bytes would become 8-bit samples
        raise UserError(f"{WANTED}, not {kind}")
    try:
        samples = np.asarray(source)
    except Exception:  # every array library has exceptions of its own
        raise UserError(f"{WANTED}, not a {kind} of different things") from None
    if samples.dtype.kind not in "fiu":
        raise UserError(f"samples must be floating point in [-1, 1] or int16, not {samples.dtype.name}")
    return samples


def _scaled(samples: np.ndarray) -> np.ndarray:
    """Scale integers so that full scale is 1.0."""
    kind = samples.dtype.str[1:]
    if samples.dtype.kind == "f":
        return samples
    if kind not in FULL_SCALE:
        raise UserError(f"samples of {samples.dtype.name} have no usual scale: give floating point in [-1, 1] or int16")
    if kind == "i4" and 0 < max(abs(int(samples.min())), abs(int(samples.max()))) <= FULL_SCALE["i2"]:
        raise UserError("samples of int32 with values of 16 bits: give int16, or floating point in [-1, 1]")
    zero = 128.0 if kind == "u1" else 0.0
    return (samples.astype(np.float32) - np.float32(zero)) / np.float32(FULL_SCALE[kind])
