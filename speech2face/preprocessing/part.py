"""The part of a recording that is used: decode it, remove a constant offset, and find the sound in it."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speech2face.errors import UserError
from speech2face.preprocessing.decode import Decoded, decode, resample, sound_begins
from speech2face.preprocessing.samples import from_samples
from speech2face.preprocessing.sound import OFFSET_SECONDS, Sound, dbfs, sound_level, sounding, without_offset
from speech2face.preprocessing.speech import LITTLE_SPEECH, RATE, speech_share


@dataclass(frozen=True)
class Part:
    """Which part of a recording is used.

    source: a file, or samples at `rate` Hz as (samples,) or (channels, samples). The other fields are those of
    speech2face.preprocessing.audio.Audio.
    """

    source: str | Path | np.ndarray
    rate: float | None
    sample_rate: int
    offset: float
    max_seconds: float | None
    silence_dbfs: float
    track: int | None
    channel: int | None

    @property
    def name(self) -> str:
        """The name of the recording in messages."""
        return str(self.source) if isinstance(self.source, str | Path) else "samples"

    def decode(
        self, start: float, seconds: float | None, level: float | None = None, channel: int | None = None
    ) -> Decoded:
        """Decode a piece of the part, without a constant offset.

        start, seconds: in s; seconds None: to the end. level: of the whole part in dBFS, if it is known. channel:
        replaces the channel of the part.
        """
        length = self.max_seconds and max(self.max_seconds - start, 1 / self.sample_rate)
        length = min(seconds, length or math.inf) if seconds else length
        offset = self.offset + start
        before = min(OFFSET_SECONDS, offset)
        channel = self.channel if channel is None else channel
        if isinstance(self.source, str | Path):
            decoded = decode(self.source, self.sample_rate, offset, length, self.track, channel, before)
        else:
            decoded = from_samples(self.source, self.rate, self.sample_rate, offset, length, channel, before)
        waveform = without_offset(decoded.waveform, self.sample_rate, level)
        decoded.waveform = waveform[round(before * self.sample_rate) :]
        return decoded

    def whole(self, start: float = 0.0, seconds: float | None = None) -> Sound:
        """The part, or a piece of it, without gain. The result has no spans if all of it is silent."""
        decoded = self.decode(start, seconds)
        waveform, warnings = decoded.waveform, decoded.warnings
        level = sound_level(waveform, self.sample_rate, self.silence_dbfs)
        if level == -math.inf:
            return Sound(waveform, dbfs(waveform), warnings, [], waveform)
        found = (self.sample_rate, self.silence_dbfs, level)
        spans = sounding(waveform, *found) or sounding(waveform, *found, 0)
        first, last = spans[0][0], spans[-1][1]
        total, used = (n / self.sample_rate for n in (len(waveform), sum(stop - start for start, stop in spans)))
        if last - first < len(waveform) or used < total / 2:  # pauses within are told if they are most of it
            warnings.append(f"{total - used:.1f} of {total:.1f} s are silent: used the other {used:.1f} s")
        if decoded.apart and self._both_speak(start, seconds):
            warnings.append("another voice in each channel: took the mean; preprocessing.channel= takes one, 0 or 1")
        spans = [(start - first, stop - first) for start, stop in spans]
        return Sound(waveform[first:last], level, warnings, spans, waveform, first)

    def piece(self, start: float, seconds: float, level: float) -> Sound:
        """A piece of the part, without gain. Its samples are those of the whole part.

        level: of the whole part in dBFS. A piece that begins with silence is replaced by one that begins with the next
        sound or, after the last sound, with the first sound of the part. Raises UserError if there is no sound.
        """
        for place in dict.fromkeys((start, 0.0)):
            moved = silent = False
            while not self.max_seconds or place < self.max_seconds:
                try:
                    decoded = self.decode(place, seconds, level)
                except UserError:
                    if not silent:
                        raise
                    break  # the recording ends with the silent piece before
                waveform = decoded.waveform
                spans = sounding(waveform, self.sample_rate, self.silence_dbfs, level)
                if spans and (moved or not spans[0][0]):
                    return Sound(waveform, level, decoded.warnings, spans, waveform)
                moved, silent = bool(spans), not spans
                place += (spans[0][0] if spans else len(waveform)) / self.sample_rate
                if not spans and len(waveform) < round(seconds * self.sample_rate):
                    break
        raise UserError(f"{self.name}: silent")

    def why_silent(self, sound: Sound, start: float) -> str:
        """The message that refuses a silent part. It says where sound begins after the part, if it does."""
        if isinstance(self.source, str | Path) and self.max_seconds:
            begin = self.offset + start
            after = sound_begins(self.source, self.silence_dbfs, begin + self.max_seconds, self.track, self.channel)
            if after is not None:
                which = f"{self.max_seconds:g} s from {begin:g} s on" if begin else f"first {self.max_seconds:g} s"
                place = f"{math.floor(10 * after) / 10:g}"
                return f"{self.name}: the {which} are silent; sound begins at {place} s: preprocessing.offset={place}"
        text = f"{self.name}: silent (level {sound.level_dbfs:.0f} dBFS, below {self.silence_dbfs:g})"
        return "; ".join([text, *sound.warnings])

    def _both_speak(self, start: float, seconds: float | None) -> bool:
        both = (self.decode(start, seconds, channel=channel).waveform for channel in (0, 1))
        return all(speech_share(resample(one, self.sample_rate, RATE)) > LITTLE_SPEECH for one in both)
