"""Recording -> level -> windows -> features: the front end of every voice encoder."""

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
    """What turns windows into the input of a network.

    version: to be raised with every change of the code that changes the result: cached embeddings depend on it.
    """

    version: int

    def __call__(self, waveform: torch.Tensor) -> torch.Tensor:
        """(windows, samples) float32 -> (windows, ...)."""

    def samples(self, frames: int) -> int:
        """Number of samples that give so many frames."""


@dataclass
class Sound:
    """A recording at the level of the front end.

    waveform: (samples,) float32. level_dbfs: RMS level before the gain. warnings: one line each.
    """

    waveform: np.ndarray
    level_dbfs: float
    warnings: list[str]


def dbfs(waveform: np.ndarray) -> float:
    """Root mean square level of (samples,) in dB relative to full scale 1.0; -inf for digital silence or no samples."""
    power = float(np.mean(np.square(waveform, dtype=np.float64))) if len(waveform) else 0.0
    return 10 * math.log10(power) if power > 0 else -math.inf


def cut_windows(waveform: np.ndarray, size: int, count: int) -> np.ndarray:
    """(samples,) -> (windows, size): `count` evenly spaced windows from the first sample to the last.

    They overlap where the clip is shorter than all of them together. A clip no longer than one window gives one window,
    the clip repeated end to end to fill it.
    """
    if len(waveform) <= size:
        return np.resize(waveform, size)[None]
    starts = np.linspace(0, len(waveform) - size, count).astype(int) if count > 1 else [0]
    return np.stack([waveform[start : start + size] for start in starts])


class Audio:
    """Front end of speech, the same for every voice encoder up to `features`.

    features: see Features. sample_rate: Hz.
    offset, max_seconds: the part of a recording that is used, in s (max_seconds None: all of it).
    level_dbfs: one gain brings the RMS of that part to this level; nothing clips, samples are floating point.
    silence_dbfs: a quieter part is refused as silence.
    window_seconds: length of a window (None: the whole part, as it is); windows: number of windows of a long clip.
    """

    modality = "speech"
    measurements = ("audio_seconds", "level_dbfs", "windows")
    version = 1  # to be raised with every change of decoding, level or windows that changes the result

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
        """Take over what an encoder's class states (speech2face.encoders.base): its least length and its time axis."""
        self.time_axis = getattr(network, "time_axis", None)
        self.least_samples = self.features.samples(getattr(network, "least_frames", 1))

    @property
    def versions(self) -> list[int]:
        """Of this code and of the features' code, for what is cached."""
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
        """The used part of a recording, or a piece of that part, at the front end's level.

        source: a file, or samples at `sample_rate` Hz as (samples,) or (channels, samples).
        start, seconds: the piece, within the part (None: to the part's end); no more is decoded.
        level: RMS level of the whole part in dBFS, where it has been measured; a piece alone does not tell it.
        silence: give silence back as it is, instead of refusing it.
        Raises UserError, naming the file, for what is not sound, is not readable, or is silent.
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
        """(samples,) with the gain that brings `level` dBFS (None: its own) to the front end's level."""
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
        """A recording (file, or samples with their rate in Hz) -> features and what to report about it.

        Raises UserError as `read` does, and for a clip that is too short for the network.
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
