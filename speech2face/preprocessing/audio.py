"""Recording -> level -> windows -> features: what a voice encoder hears."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from speech2face.errors import UserError
from speech2face.preprocessing import Prepared
from speech2face.preprocessing.decode import decode_audio, resample, silence_unfit


def dbfs(waveform: np.ndarray) -> float:
    """Root mean square level of (samples,) in dB relative to full scale 1.0; -inf for digital silence."""
    power = float(np.mean(np.square(waveform, dtype=np.float64)))
    return 10 * math.log10(power) if power > 0 else -math.inf


def cut_windows(waveform: np.ndarray, size: int, count: int) -> np.ndarray:
    """(samples,) -> (windows, size): `count` evenly spaced windows from the first sample to the last.

    They overlap where the clip is shorter than all of them together. A clip no longer than one window gives that one,
    repeated end to end to fill it.
    """
    if len(waveform) <= size:
        return np.resize(waveform, size)[None]
    starts = np.linspace(0, len(waveform) - size, count).astype(int) if count > 1 else [0]
    return np.stack([waveform[start : start + size] for start in starts])


class Audio:
    """Preprocessing of speech, the same for every voice encoder up to `features`.

    features: (windows, samples) float32 tensor -> (windows, ...) what the encoder takes.
    sample_rate: Hz. offset, max_seconds: the part of a recording that is used, in s (max_seconds None: all of it).
    level_dbfs: one gain brings the RMS of that part here; nothing clips, samples are floating point.
    silence_dbfs: quieter than this is refused as silence.
    window_seconds: length of a window (None: the whole part, as it is); windows: how many of a long clip.
    """

    modality = "speech"
    measurements = ("audio_seconds", "level_dbfs", "windows")

    def __init__(
        self,
        features: Callable[[torch.Tensor], torch.Tensor],
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
            if value is None and option in ("max_seconds", "window_seconds"):
                continue
            if not isinstance(value, type(least) | int) or not value >= least:
                kind = "a whole number" if isinstance(least, int) else "a number"
                raise UserError(f"preprocessing.{option}={value}: must be {kind}, at least {least}")
        self.features = features
        self.sample_rate = sample_rate
        self.offset = offset
        self.max_seconds = max_seconds
        self.level_dbfs = level_dbfs
        self.silence_dbfs = silence_dbfs
        self.window_seconds = window_seconds
        self.windows = windows

    def load(self, source: str | Path | np.ndarray, sample_rate: int | None = None) -> tuple[np.ndarray, list[str]]:
        """A file, or samples at `sample_rate` Hz as (samples,) or (channels, samples) -> (samples,), warnings."""
        if isinstance(source, str | Path):
            return decode_audio(source, self.sample_rate, self.offset, self.max_seconds)
        if sample_rate is None or not sample_rate >= 1 or sample_rate != int(sample_rate):
            raise UserError(f"samples need their sample_rate in Hz, not {sample_rate}")
        sample_rate, samples = int(sample_rate), np.atleast_2d(np.asarray(source))
        if samples.ndim > 2 or samples.shape[0] > samples.shape[1]:
            raise UserError(f"samples must be (samples,) or (channels, samples), not {np.shape(source)}")
        white = 1.0 if samples.dtype.kind == "f" else -float(np.iinfo(samples.dtype).min) or 1.0
        samples = (samples / white).mean(axis=0, dtype=np.float32)
        first = round(self.offset * sample_rate)
        last = first + round(self.max_seconds * sample_rate) if self.max_seconds else None
        samples, warnings = silence_unfit(samples[first:last], "samples")
        return resample(samples, sample_rate, self.sample_rate), warnings

    def __call__(self, source: str | Path | np.ndarray, sample_rate: int | None = None) -> Prepared:
        """A recording (file, or samples with their rate in Hz) -> features and what to report about it.

        Raises UserError for what is not sound, silent, or not to be read, naming the file.
        """
        name = str(source) if isinstance(source, str | Path) else "samples"
        waveform, warnings = self.load(source, sample_rate)
        level = dbfs(waveform) if len(waveform) else -math.inf
        if not level >= self.silence_dbfs:
            raise UserError(f"{name}: silent (level {level:.0f} dBFS, below {self.silence_dbfs:g})")
        waveform = waveform * np.float32(10 ** ((self.level_dbfs - level) / 20))
        size = round(self.window_seconds * self.sample_rate) if self.window_seconds else len(waveform)
        windows = cut_windows(waveform, size, self.windows)
        return Prepared(
            features=self.features(torch.from_numpy(windows)),
            preview={"waveform": windows[0], "sample_rate": self.sample_rate},
            measurements={
                "audio_seconds": round(len(waveform) / self.sample_rate, 3),
                "level_dbfs": round(level, 2),
                "windows": len(windows),
            },
            warnings=warnings,
        )
