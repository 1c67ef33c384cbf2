"""What sounds in a recording: offset, level, silence, windows. Waveforms are (samples,) float32."""

import math
from dataclasses import dataclass

import numpy as np

BLOCKS = 100  # per second
PAUSE_SECONDS = 1.0  # a longer one is silence, a shorter one belongs to the speech around it
LEAST_SECONDS = 0.1  # of loud blocks, lest a click be taken for sound
FAINT_DB = 30.0  # what is so far below the level is silence
OFFSET_SECONDS = 0.5  # the offset is the mean of the samples so long before, so a piece needs no more of the recording
OFFSET_POWER = 0.05  # a fainter offset is left, relative to the power: it changes the level by less than 0.3 dB


def dbfs(waveform: np.ndarray) -> float:
    """Root mean square level of (samples,) in dB relative to full scale 1.0; -inf for zeros and for no samples."""
    power = float(np.mean(np.square(waveform, dtype=np.float64))) if len(waveform) else 0.0
    return 10 * math.log10(power) if power > 0 else -math.inf


def without_offset(waveform: np.ndarray, rate: int, level: float | None = None) -> np.ndarray:
    """Subtract the mean of the last OFFSET_SECONDS from every sample, if the waveform has a constant offset.

    level: in dBFS, of the sound to which an offset is compared; None: the waveform's own. The result at a sample does
    not depend on what is further away, so a piece of a recording is changed as the whole is.
    """
    power = 10 ** ((dbfs(waveform) if level is None else level) / 10)
    if not len(waveform) or np.mean(waveform, dtype=np.float64) ** 2 <= OFFSET_POWER * power:
        return waveform
    size = round(OFFSET_SECONDS * rate)
    before = np.full(size, np.mean(waveform[:size], dtype=np.float64))
    sums = np.cumsum(np.concatenate([before, waveform]), dtype=np.float64)
    return (waveform - (sums[size:] - sums[:-size]) / size).astype(np.float32)


@dataclass
class Sound:
    """A recording at the level of the front end.

    waveform: (samples,) float32, from the first sound to the last. level_dbfs: RMS level of what is not silence in dBFS
    before the gain. warnings: one line each. spans: first sample of each stretch of `waveform` that is not silence, and
    the sample after it. part: (samples,) float32, all that was read, with the silence at both ends. first: the sample
    of `part` with which `waveform` begins.
    """

    waveform: np.ndarray
    level_dbfs: float
    warnings: list[str]
    spans: list[tuple[int, int]]
    part: np.ndarray
    first: int = 0


def _loud(waveform: np.ndarray, rate: int, threshold_dbfs: float, least: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """Power of each block, and the blocks above a threshold in dBFS, in groups without longer pauses.

    least: s of loud blocks in a group; groups with less are left out.
    """
    size = max(rate // BLOCKS, 1)
    padded = np.pad(waveform, (0, -len(waveform) % size)).reshape(-1, size)
    powers = np.einsum("ij,ij->i", padded, padded, dtype=np.float64) / size
    loud = np.flatnonzero(powers > 10 ** (threshold_dbfs / 10))
    groups = np.split(loud, np.flatnonzero(np.diff(loud) > PAUSE_SECONDS * BLOCKS) + 1)
    return powers, [one for one in groups if len(one) >= max(least * BLOCKS, 1)]


def onset(waveform: np.ndarray, rate: int, silence_dbfs: float) -> int | None:
    """The sample at which sound above `silence_dbfs` begins, or None."""
    _, groups = _loud(waveform, rate, silence_dbfs, LEAST_SECONDS)
    return int(groups[0][0]) * max(rate // BLOCKS, 1) if groups else None


def sounding(
    waveform: np.ndarray, rate: int, silence_dbfs: float, level: float, least: float = LEAST_SECONDS
) -> list[tuple[int, int]]:
    """The spans of a waveform that are not silence: first sample and the one after the last, in order.

    Silence is below `silence_dbfs`, or FAINT_DB below `level` in dBFS, for more than PAUSE_SECONDS. least: s of louder
    blocks in a span. The faint sound before the first span and after the last belongs to them, for as long as a pause.
    """
    powers, groups = _loud(waveform, rate, max(silence_dbfs, level - FAINT_DB), least)
    if not groups:
        return []
    size, pause = max(rate // BLOCKS, 1), round(PAUSE_SECONDS * BLOCKS)
    spans = [(int(one[0]), int(one[-1]) + 1) for one in groups]
    silent = powers <= 10 ** (silence_dbfs / 10)
    first, last = spans[0][0], spans[-1][1]
    before = np.flatnonzero(silent[max(first - pause, 0) : first][::-1])
    after = np.flatnonzero(silent[last : last + pause])
    first = 0 if first <= pause else first - (int(before[0]) if len(before) else pause)
    last = len(powers) if len(powers) - last <= pause else last + (int(after[0]) if len(after) else pause)
    spans[0] = first, spans[0][1]
    spans[-1] = spans[-1][0], last
    return [(start * size, min(stop * size, len(waveform))) for start, stop in spans]


def sound_level(waveform: np.ndarray, rate: int, silence_dbfs: float) -> float:
    """Level in dBFS of what is not silence, as far as a level tells; -inf if everything is below `silence_dbfs`."""
    own = dbfs(waveform)
    spans = sounding(waveform, rate, silence_dbfs, own) or sounding(waveform, rate, silence_dbfs, own, 0)
    return dbfs(np.concatenate([waveform[start:stop] for start, stop in spans])) if spans else -math.inf


def heard_windows(
    samples: int, spans: list[tuple[int, int]], rate: int, size: int, count: int, most: int | None
) -> tuple[list[int], int, int]:
    """Which windows of a waveform of `samples` samples are heard: their first samples, their size, how many are silent.

    size, count: of the windows that are wanted. most: samples of the longest window that is heard to its end, or None.
    A longer window is cut into as few as cover it. The silent ones are left out.
    """
    most = most or max(size, samples)
    size = min(size, max(samples, most))
    starts = window_starts(samples, size, count)
    if size > most:
        pieces = window_starts(size, most, -(-size // most))
        starts, size = sorted({start + piece for start in starts for piece in pieces}), most
    least = min(round(LEAST_SECONDS * rate), size, sum(stop - start for start, stop in spans))
    kept = [start for start in starts if sounding_samples(spans, start, size) >= least]
    return kept or [max(min(spans[0][0], samples - size), 0)], size, len(starts) - len(kept)


def sounding_samples(spans: list[tuple[int, int]], start: int, size: int) -> int:
    """How many samples of a window, which begins at sample `start`, are not silence."""
    return sum(max(min(start + size, last) - max(start, first), 0) for first, last in spans)


def window_starts(samples: int, size: int, count: int) -> list[int]:
    """First samples of `count` evenly spaced windows of `size` samples; of one window, if there is no room for two."""
    if samples <= size or count == 1:
        return [0]
    return np.linspace(0, samples - size, count).astype(int).tolist()


def cut_windows(waveform: np.ndarray, size: int, count: int) -> np.ndarray:
    """(samples,) -> (windows, size): `count` evenly spaced windows from the first sample to the last.

    The windows overlap if the clip is shorter than all of them together. A clip no longer than one window gives one
    window, which it fills by repetition.
    """
    return take(waveform, window_starts(len(waveform), size, count), size)


def take(waveform: np.ndarray, starts: list[int], size: int) -> np.ndarray:
    """(samples,) -> (windows, size): the windows with these first samples. A shorter waveform is repeated."""
    if len(waveform) <= size:
        return np.resize(waveform, size)[None]
    return np.stack([waveform[start : start + size] for start in starts])
