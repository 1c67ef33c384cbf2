"""Constant offset, level, silence and windows of a recording. Waveforms are (samples,) float32."""

import math
from dataclasses import dataclass

import numpy as np

BLOCKS = 100  # per second; silence is judged block by block
PAUSE_SECONDS = 1.0  # a longer pause is silence; a shorter one belongs to the speech around it
LEAST_SECONDS = 0.1  # of loud blocks; less is a click
FAINT_DB = 30.0  # sound that is further below the level is silence
OFFSET_SECONDS = 0.5  # the offset of a sample is the mean of the samples in this time before it
OFFSET_POWER = 0.05  # a weaker offset, relative to the power, is not removed: it changes the level by less than 0.3 dB


def dbfs(waveform: np.ndarray) -> float:
    """Root mean square level of (samples,) in dB relative to full scale 1.0; -inf if all are 0 or there are none."""
    power = float(np.mean(np.square(waveform, dtype=np.float64))) if len(waveform) else 0.0
    return 10 * math.log10(power) if power > 0 else -math.inf


def without_offset(waveform: np.ndarray, rate: int, level: float | None = None) -> np.ndarray:
    """Remove a constant offset (DC): subtract from every sample the mean of the OFFSET_SECONDS before it.

    level: of the recording in dBFS, to which the offset is compared; None: the waveform's own level. The result at a
    sample does not depend on samples further away, so a piece of a recording changes as the whole recording does.
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

    waveform: (samples,) float32, from the first sound to the last. level_dbfs: RMS level without silence, before the
    gain. warnings: one line each. spans: the stretches of `waveform` that are not silence, as first sample and end
    (exclusive). part: (samples,) float32, everything that was read, including the silence at both ends. first: index in
    `part` of the first sample of `waveform`.
    """

    waveform: np.ndarray
    level_dbfs: float
    warnings: list[str]
    spans: list[tuple[int, int]]
    part: np.ndarray
    first: int = 0


def _loud(waveform: np.ndarray, rate: int, threshold_dbfs: float, least: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """The power of each block, and the indices of the blocks above a threshold in dBFS, in groups.

    Pauses longer than PAUSE_SECONDS separate the groups. least: loud blocks that a group must have, in s.
    """
    size = max(rate // BLOCKS, 1)
    padded = np.pad(waveform, (0, -len(waveform) % size)).reshape(-1, size)
    powers = np.einsum("ij,ij->i", padded, padded, dtype=np.float64) / size
    loud = np.flatnonzero(powers > 10 ** (threshold_dbfs / 10))
    groups = np.split(loud, np.flatnonzero(np.diff(loud) > PAUSE_SECONDS * BLOCKS) + 1)
    return powers, [one for one in groups if len(one) >= max(least * BLOCKS, 1)]


def onset(waveform: np.ndarray, rate: int, silence_dbfs: float) -> int | None:
    """The sample at which sound above `silence_dbfs` begins; None if there is none."""
    _, groups = _loud(waveform, rate, silence_dbfs, LEAST_SECONDS)
    return int(groups[0][0]) * max(rate // BLOCKS, 1) if groups else None


def sounding(
    waveform: np.ndarray, rate: int, silence_dbfs: float, level: float, least: float = LEAST_SECONDS
) -> list[tuple[int, int]]:
    """The spans of a waveform that are not silence, in order: first sample and end (exclusive).

    Silence stays below `silence_dbfs`, or FAINT_DB below `level` (dBFS), for more than PAUSE_SECONDS. least: louder
    blocks that a span must have, in s. Faint sound before the first span and after the last one belongs to it, up to
    PAUSE_SECONDS.
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
    """RMS level of a waveform without its silence in dBFS; -inf if all of it is below `silence_dbfs`."""
    own = dbfs(waveform)
    spans = sounding(waveform, rate, silence_dbfs, own) or sounding(waveform, rate, silence_dbfs, own, 0)
    return dbfs(np.concatenate([waveform[start:stop] for start, stop in spans])) if spans else -math.inf


def heard_windows(
    samples: int, spans: list[tuple[int, int]], rate: int, size: int, count: int, most: int | None
) -> tuple[list[int], int, int]:
    """Choose the windows of a waveform that are used. Returns their first samples, their size, and how many are silent.

    samples: length of the waveform. spans: see `sounding`. size, count: of the windows that are wanted. most: samples
    of the longest window that the features use to its end, or None. A longer window is cut into the fewest windows
    that cover it. Silent windows are left out.
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
    """First samples of `count` evenly spaced windows of `size` samples; [0] if the waveform is no longer than one."""
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
