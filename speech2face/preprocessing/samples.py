"""Samples in memory -> mono samples, treated as `decode` treats a file."""

import numpy as np

from speech2face.errors import UserError
from speech2face.preprocessing.arrays import to_channels, to_rate
from speech2face.preprocessing.decode import Decoded, resample, silence_unfit
from speech2face.preprocessing.mix import Mix
from speech2face.preprocessing.streams import check_rate

NAME = "samples"


def from_samples(
    source: object,
    rate: object,
    sample_rate: int,
    offset: float,
    max_seconds: float | None,
    channel: int | None = None,
    before: float = 0.0,
) -> Decoded:
    """A part of a recording in memory, resampled to `sample_rate` Hz. The other arguments are those of `decode`.

    source: (samples,) or (channels, samples), see `to_channels`. rate: sample rate of the source in Hz.
    Raises UserError if the source is not a recording, and if the part has no samples.
    """
    channels = to_channels(source)
    rate = check_rate(to_rate(rate), NAME)
    first = round((offset - before) * rate)
    last = first + round((max_seconds + before) * rate) if max_seconds else None
    mix = Mix(channel, NAME)
    waveform, warnings = mix(channels[:, first:last].T), []
    if (louder := mix.louder) is not None:
        waveform = channels[louder, first:last].astype(np.float32)
        warnings.append(f"the channels cancel each other: took channel {louder}")
    waveform, unfit = silence_unfit(waveform, NAME)
    waveform = resample(waveform, rate, sample_rate)
    if len(waveform) <= round(before * sample_rate):
        raise UserError(f"{NAME}: there are none" + (f" after {offset:g} s" if offset else ""))
    return Decoded(waveform, warnings + unfit, mix.apart)
