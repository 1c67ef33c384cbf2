"""The front end of every voice encoder: recording -> level -> windows -> features."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from speech2face.errors import UserError
from speech2face.preprocessing import Prepared
from speech2face.preprocessing.arrays import check_number
from speech2face.preprocessing.decode import resample
from speech2face.preprocessing.part import Part
from speech2face.preprocessing.sound import Sound, cut_windows, dbfs, heard_windows, take
from speech2face.preprocessing.speech import RATE, little_speech, speech_share

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Audio", "Features", "Sound", "cut_windows", "dbfs"]
OPTIONAL = ("max_seconds", "window_seconds", "track", "channel")
FRAME_SECONDS = 0.025  # nothing shorter has a spectrum
FAINT = 0.05  # share of speech that a window without any has in the mean over windows


class Features(Protocol):
    """Computes the input of a network from windows of samples.

    version: raise it when a change of the code changes the result; cached embeddings depend on it.
    A class whose features end after some samples has also `most_samples`: the length of the longest window that is
    heard to its end, or None.
    """

    version: int

    def __call__(self, waveform: torch.Tensor) -> torch.Tensor:
        """(windows, samples) float32 -> (windows, ...)."""

    def samples(self, frames: int) -> int:
        """The least number of samples that gives `frames` frames."""


class Audio:
    """Front end of speech. Voice encoders differ only in `features`.

    features: windows -> input of the network; see Features. sample_rate: in Hz.
    offset, max_seconds: start and length in s of the part of a recording that is used; max_seconds None: to the end.
    level_dbfs: one gain brings the RMS of that part, without its silence, to this level. Samples are floating point, so
    nothing clips.
    silence_dbfs: what is below this level for more than a second is silence, and a part that is all silence is refused.
    window_seconds: length of a window; None: the whole part is one window. A window that is longer than the features
    is cut into several. windows: number of windows of a long clip; silent ones are left out.
    track, channel: number of the audio track and of the channel to use; None: the track that FFmpeg calls best, and the
    mean of the channels.
    require_speech: refuse a recording that is hardly speech; False: warn.

    Raises UserError for arguments out of range.
    """

    modality = "speech"
    measurements = ("audio_seconds", "level_dbfs", "windows", "speech_share")
    version = 3  # raise it when decoding, level or windows change the result: cached embeddings depend on it

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
        track: int | None = None,
        channel: int | None = None,
        require_speech: bool = False,
    ) -> None:
        for option, value, least in (
            ("offset", offset, 0.0),
            ("level_dbfs", level_dbfs, -200.0),
            ("silence_dbfs", silence_dbfs, -400.0),
            ("max_seconds", max_seconds, 0.05),
            ("window_seconds", window_seconds, 0.05),
            ("windows", windows, 1),
            ("sample_rate", sample_rate, 1000),
            ("track", track, 0),
            ("channel", channel, 0),
        ):
            if value is None and option in OPTIONAL:
                continue
            check_number(option, value, least)
            if option.endswith("dbfs") and value > 0:
                raise UserError(f"preprocessing.{option}={value}: must be at most 0, full scale")
        if not isinstance(require_speech, bool):
            raise UserError(f"preprocessing.require_speech={require_speech}: must be true or false")
        if not callable(features):
            raise UserError(f"preprocessing.features={features}: must be the front end's features, as in fbank")
        if getattr(features, "sample_rate", sample_rate) != sample_rate:
            raise UserError(f"preprocessing.sample_rate={sample_rate}: features.sample_rate={features.sample_rate}")
        self.features = features
        self.sample_rate = sample_rate
        self.offset = offset
        self.max_seconds = max_seconds
        self.level_dbfs = level_dbfs
        self.silence_dbfs = silence_dbfs
        self.window_seconds = window_seconds
        self.windows = windows
        self.track = track
        self.channel = channel
        self.require_speech = require_speech
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
        level: RMS level in dBFS of the whole part without its silence, if it is known. The gain of a piece depends on
            it. A piece that begins with silence gives way to the one that begins with the next sound of the part.
        silence: return silence without a gain instead of refusing it.
        Raises UserError, naming the file, if the source is not sound, is not readable, or is silent.
        """
        part = self._part(source, sample_rate)
        piece = level is not None and seconds is not None
        sound = part.piece(start, seconds, level) if piece else part.whole(start, seconds)
        if not sound.spans:
            if silence:
                return sound
            raise UserError(part.why_silent(sound, start))
        sound.level_dbfs = sound.level_dbfs if level is None else level
        whole = self.to_level(sound.part, sound.level_dbfs)
        sound.part, sound.waveform = whole, whole[sound.first : sound.first + len(sound.waveform)]
        return sound

    def why_silent(self, source: str | Path, sound: Sound) -> str:
        """Why a recording is refused whose part is all silence, and where sound begins after that part."""
        return self._part(source, None).why_silent(sound, 0.0)

    def to_level(self, waveform: np.ndarray, level: float | None = None) -> np.ndarray:
        """Apply the gain to (samples,) that brings `level` dBFS (None: their own level) to the front end's level."""
        level = dbfs(waveform) if level is None else level
        return waveform * np.float32(10 ** ((self.level_dbfs - level) / 20))

    def _part(self, source: str | Path | np.ndarray, rate: int | None) -> Part:
        which = (self.offset, self.max_seconds, self.silence_dbfs, self.track, self.channel)
        return Part(source, rate, self.sample_rate, *which)

    def __call__(self, source: str | Path | np.ndarray, sample_rate: int | None = None) -> Prepared:
        """A recording (file, or samples with their rate in Hz) -> features (windows, ...) and a report.

        Raises UserError as `read` does, if a window is too short for the network, and for what is hardly speech if that
        is required.
        """
        sound = self.read(source, sample_rate)
        name, rate, length = self._part(source, sample_rate).name, self.sample_rate, len(sound.waveform)
        if length < FRAME_SECONDS * rate:
            raise UserError(f"{name}: too short for a face: {length / rate:.4f} s of sound, the rest silent or missing")
        size = round(self.window_seconds * rate) if self.window_seconds else length
        if size < self.least_samples:
            least = self.least_samples / rate
            raise UserError(f"{name}: too short: {size} samples, and the encoder needs {least:.3f} s")
        most = getattr(self.features, "most_samples", None)
        starts, size, silent = heard_windows(length, sound.spans, rate, size, self.windows, most)
        if silent:
            sound.warnings.append(f"{silent} of {silent + len(starts)} windows silent: left out")
        windows = take(sound.waveform, starts, size)
        heard = [(start, min(start + size, length)) for start in starts]
        seconds = np.array([(end - start) / rate for start, end in heard])
        shares = np.array([speech_share(resample(sound.waveform[start:end], rate, RATE)) for start, end in heard])
        share = round(float(shares @ seconds / seconds.sum()), 3)
        if doubt := little_speech(min(float(seconds.sum()), length / rate), share):
            if self.require_speech:
                raise UserError(f"{name}: {doubt}; preprocessing.require_speech=false takes it")
            sound.warnings.append(doubt)
        weights = []
        if len(starts) > 1:  # seconds of speech in each; a window without any counts a little
            weights = (np.maximum(shares, FAINT) * seconds).tolist()
        return Prepared(
            features=self.features(torch.from_numpy(windows)),
            preview={
                "waveform": windows[0],
                "part": sound.part,
                "heard": [((start + sound.first) / rate, (end + sound.first) / rate) for start, end in heard],
                "sample_rate": rate,
            },
            measurements={
                "audio_seconds": round(sum(stop - start for start, stop in sound.spans) / rate, 3),
                "level_dbfs": round(sound.level_dbfs, 2),
                "windows": len(windows),
                "speech_share": share,
            },
            warnings=sound.warnings,
            weights=weights,
        )
