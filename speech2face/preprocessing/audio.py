"""The front end of every voice encoder: recording -> level -> windows -> features."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from speech2face.errors import UserError
from speech2face.preprocessing import Prepared
from speech2face.preprocessing.decode import decode_audio, resample, silence_unfit

if TYPE_CHECKING:
    from torch import nn

OPTIONAL = ("max_seconds", "window_seconds")


class Features(Protocol):
    """Computes the input of a network from windows of samples.

    version: raise it when a change of the code changes the result; cached embeddings depend on it.
    """

    version: int

    def __call__(self, waveform: torch.Tensor) -> torch.Tensor:
        """(windows, samples) float32 -> (windows, ...)."""

    def samples(self, frames: int) -> int:
        """The least number of samples that gives `frames` frames."""


@dataclass
class Sound:
    """A recording at the level of the front end.

    waveform: (samples,) float32. level_dbfs: RMS level in dBFS before the gain. warnings: one line each.
    """

    waveform: np.ndarray
    level_dbfs: float
    warnings: list[str]


def dbfs(waveform: np.ndarray) -> float:
    """Root mean square level of (samples,) in dB relative to full scale 1.0; -inf for zeros and for no samples."""
    power = float(np.mean(np.square(waveform, dtype=np.float64))) if len(waveform) else 0.0
    return 10 * math.log10(power) if power > 0 else -math.inf


def cut_windows(waveform: np.ndarray, size: int, count: int) -> np.ndarray:
    """(samples,) -> (windows, size): `count` evenly spaced windows from the first sample to the last.

    The windows overlap if the clip is shorter than all of them together. A clip no longer than one window gives one
    window, which it fills by repetition.
    """
    if len(waveform) <= size:
        return np.resize(waveform, size)[None]
    starts = np.linspace(0, len(waveform) - size, count).astype(int) if count > 1 else [0]
    return np.stack([waveform[start : start + size] for start in starts])


class Audio:
    """Front end of speech. Voice encoders differ only in `features`.

    features: windows -> input of the network; see Features. sample_rate: in Hz.
    offset, max_seconds: start and length in s of the part of a recording that is used; max_seconds None: to the end.
    level_dbfs: one gain brings the RMS of that part to this level. Samples are floating point, so nothing clips.
    silence_dbfs: a part below this level is refused as silence.
    window_seconds: length of a window; None: the whole part is one window. windows: number of windows of a long clip.

    Raises UserError for arguments out of range.
    """

    modality = "speech"
    measurements = ("audio_seconds", "level_dbfs", "windows")
    version = 1  # raise it when decoding, level or windows change the result: cached embeddings depend on it

    def __init__(
        self,
        features: Features,
        sample_rate: int = 16_000,
        offset: float = 0.0,
        max_seconds: float | None = 60.0,
        level_dbfs: float = -23.0,
        silence_dbfs: float = -80.0,
        window_seconds: float | None = 6.0,
        windows: int = 1,
    ) -> None:
        for option, value, least in (
            ("offset", offset, 0.0),
            ("level_dbfs", level_dbfs, -200.0),
            ("silence_dbfs", silence_dbfs, -400.0),
            ("max_seconds", max_seconds, 0.05),
            ("window_seconds", window_seconds, 0.05),
            ("windows", windows, 1),
            ("sample_rate", sample_rate, 1000),
        ):
            if value is None and option in OPTIONAL:
                continue
            if not isinstance(value, type(least) | int) or isinstance(value, bool) or not least <= value < math.inf:
                kind = "a whole number" if isinstance(least, int) else "a number"
                raise UserError(f"preprocessing.{option}={value}: must be {kind}, at least {least}")
        if not callable(features):
            raise UserError(f"preprocessing.features={features}: must be the front end's features, as in fbank")
        self.features = features
        self.sample_rate = sample_rate
        self.offset = offset
        self.max_seconds = max_seconds
        self.level_dbfs = level_dbfs
        self.silence_dbfs = silence_dbfs
        self.window_seconds = window_seconds
        self.windows = windows
        self.least_samples = 1
        self.time_axis: int | None = None

    def fit_to(self, network: "nn.Module") -> None:
        """Take the least number of frames and the time axis from an encoder's class (speech2face.encoders.base)."""
        self.time_axis = getattr(network, "time_axis", None)
        self.least_samples = self.features.samples(getattr(network, "least_frames", 1))

    @property
    def versions(self) -> list[int]:
        """The versions of this code and of `features`, part of the key of cached embeddings."""
        return [self.version, self.features.version]

    def read(
        self,
        source: str | Path | np.ndarray,
        sample_rate: int | None = None,
        start: float = 0.0,
        seconds: float | None = None,
        level: float | None = None,
        silence: bool = False,
    ) -> Sound:
        """Read the part of a recording that is used, or a piece of that part, at the front end's level.

        source: a file, or samples at `sample_rate` Hz as (samples,) or (channels, samples).
        start, seconds: start and length of the piece within the part, in s; None: to its end. No more is decoded.
        level: RMS level in dBFS of the whole part, if it is known. The gain of a piece depends on it.
        silence: return silence without a gain instead of refusing it.
        Raises UserError, naming the file, if the source is not sound, is not readable, or is silent.
        """
        name = str(source) if isinstance(source, str | Path) else "samples"
        length = self.max_seconds and max(self.max_seconds - start, 0.0)
        length = min(seconds, length or math.inf) if seconds else length
        if isinstance(source, str | Path):
            waveform, warnings = decode_audio(source, self.sample_rate, self.offset + start, length)
        else:
            waveform, warnings = self._samples(source, sample_rate, self.offset + start, length)
        measured = dbfs(waveform)
        level = measured if level is None else level
        if not min(level, measured) >= self.silence_dbfs:
            if silence:
                return Sound(waveform, level, warnings)
            raise UserError(f"{name}: silent (level {min(level, measured):.0f} dBFS, below {self.silence_dbfs:g})")
        return Sound(self.to_level(waveform, level), level, warnings)

    def to_level(self, waveform: np.ndarray, level: float | None = None) -> np.ndarray:
        """Apply the gain to (samples,) that brings `level` dBFS (None: their own level) to the front end's level."""
        level = dbfs(waveform) if level is None else level
        return waveform * np.float32(10 ** ((self.level_dbfs - level) / 20))

    def _samples(
        self, source: np.ndarray, sample_rate: int | None, start: float, seconds: float | None
    ) -> tuple[np.ndarray, list[str]]:
        if sample_rate is None or not sample_rate >= 1 or sample_rate != int(sample_rate):
            raise UserError(f"samples need their sample_rate in Hz, not {sample_rate}")
        sample_rate, samples = int(sample_rate), np.atleast_2d(np.asarray(source))
        if samples.ndim > 2 or samples.shape[0] > samples.shape[1]:
            raise UserError(f"samples must be (samples,) or (channels, samples), not {np.shape(source)}")
        white = 1.0 if samples.dtype.kind == "f" else -float(np.iinfo(samples.dtype).min) or 1.0
        samples = (samples / white).mean(axis=0, dtype=np.float32)
        first = round(start * sample_rate)
        last = first + round(seconds * sample_rate) if seconds else None
        samples, warnings = silence_unfit(samples[first:last], "samples")
        return resample(samples, sample_rate, self.sample_rate), warnings

    def __call__(self, source: str | Path | np.ndarray, sample_rate: int | None = None) -> Prepared:
        """A recording (file, or samples with their rate in Hz) -> features (windows, ...) and a report.

        Raises UserError as `read` does, and if a window is too short for the network.
        """
        sound = self.read(source, sample_rate)
        length = len(sound.waveform)
        size = round(self.window_seconds * self.sample_rate) if self.window_seconds else length
        if size < self.least_samples:
            least = self.least_samples / self.sample_rate
            name = str(source) if isinstance(source, str | Path) else "samples"
            raise UserError(f"{name}: too short: {size} samples, and the encoder needs {least:.3f} s")
        windows = cut_windows(sound.waveform, size, self.windows)
        return Prepared(
            features=self.features(torch.from_numpy(windows)),
            preview={"waveform": windows[0], "sample_rate": self.sample_rate},
            measurements={
                "audio_seconds": round(length / self.sample_rate, 3),
                "level_dbfs": round(sound.level_dbfs, 2),
                "windows": len(windows),
            },
            warnings=sound.warnings,
        )
