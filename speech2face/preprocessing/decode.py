"""Decode audio: any file that FFmpeg can open -> mono samples. Works in process and reads no more than is needed."""

import itertools
import logging
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from speech2face.errors import UserError, why_not
from speech2face.preprocessing.mix import Mix
from speech2face.preprocessing.sound import onset, without_offset
from speech2face.preprocessing.streams import (
    OPTIONS,
    SIZED,
    check_rate,
    ends_early,
    is_cut,
    pick_stream,
    stored_seconds,
)

logging.getLogger("libav").setLevel(logging.CRITICAL)  # errors are raised below

# Kaiser-windowed sinc: at 16 kHz it is flat to 7.4 kHz and below -90 dB from 8.2 kHz (tests/test_decode.py).
# It interpolates between filter phases, so an odd sample rate costs no more than a usual one.
RESAMPLER = "filter_size=128:cutoff=0.97:filter_type=kaiser:kaiser_beta=12"
PREROLL_SECONDS = 0.5  # decoded and discarded after a seek, because lossy codecs need some packets to settle
SEARCH_SECONDS = 3600.0  # of a recording, at most, in which sound is looked for
BROKEN = "damaged or cut short: used what could be decoded"
OF_WAV = {"probesize": "32768", "max_size": "65536"}  # the header says all; large packets take a tenth of the time
INDEXED = {b"caff": 0, b"ftyp": 4}  # formats that cannot be read without their end, by their mark and its place


def resample(waveform: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Band-limited resampling of (samples,) float32 from `rate` to `new_rate` Hz, without delay."""
    if rate == new_rate or not len(waveform):
        return waveform.astype(np.float32, copy=False)
    graph = av.filter.Graph()
    nodes = [
        graph.add("abuffer", sample_rate=str(rate), sample_fmt="flt", channel_layout="mono", time_base=f"1/{rate}"),
        graph.add("aresample", f"{new_rate}:{RESAMPLER}"),
        graph.add("abuffersink"),
    ]
    graph.link_nodes(*nodes).configure()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform[None], np.float32), format="flt", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    graph.push(frame)
    graph.push(None)
    chunks = []
    while True:
        try:
            chunks.append(graph.pull().to_ndarray()[0])
        except (av.EOFError, av.BlockingIOError):
            return _join(chunks)


@dataclass
class Decoded:
    """Samples of a recording.

    waveform: (samples,) float32, nominally in [-1, 1]. warnings: one line each.
    apart: whether it has two channels that carry different sound.
    """

    waveform: np.ndarray
    warnings: list[str]
    apart: bool = False


def decode(
    path: str | Path,
    sample_rate: int = 16_000,
    offset: float = 0.0,
    max_seconds: float | None = 60.0,
    track: int | None = None,
    channel: int | None = None,
    before: float = 0.0,
) -> Decoded:
    """Decode `max_seconds` of a recording (None: all) from `offset` seconds on, at `sample_rate` Hz.

    track: number among the audio tracks; None: the one that FFmpeg calls best. channel: number of the channel to take;
    None: their mean, or the louder one if they cancel each other. before: s before the offset to decode too, at most
    `offset`. Samples that are not finite become silence. A truncated file is used up to its end.

    Raises UserError if the file is missing, is not media, has no audio stream, is empty, or is all NaN, and for a track
    or channel that it does not have.
    """
    name = str(path)
    mix = Mix(channel, name)
    reading = Reading(Path(path), offset - before, max_seconds and max_seconds + before, track, mix)
    waveform = _join(list(reading))
    if (louder := mix.louder) is not None:
        decoded = decode(path, sample_rate, offset, max_seconds, track, louder, before)
        decoded.warnings.append(f"its channels cancel each other: took channel {louder}")
        return decoded
    waveform, unfit = silence_unfit(waveform, name)
    waveform = resample(waveform, reading.rate, sample_rate)
    if len(waveform) <= round(before * sample_rate):
        length = f", its length is {reading.seconds:.1f} s" if reading.seconds else ""
        start = f" after {offset:g} s{length}" if offset else ""
        raise UserError(f"{name}: no audio could be decoded{start}" + ": damaged or cut short" * reading.broken)
    return Decoded(waveform, reading.warnings + [BROKEN] * reading.broken + unfit, mix.apart)


def silence_unfit(waveform: np.ndarray, name: str) -> tuple[np.ndarray, list[str]]:
    """Replace NaN and infinite values of (samples,) by silence. Returns the samples and warnings.

    Raises UserError if no sample is finite. name: of the recording, for the message.
    """
    finite = np.isfinite(waveform)
    if finite.all():  # also if there are no samples
        return waveform, []
    if not finite.any():
        raise UserError(f"{name}: every sample is NaN or infinite")
    count = len(finite) - int(finite.sum())
    return np.where(finite, waveform, 0), [f"{count} samples were NaN or infinite: taken as silence"]


@dataclass
class Reading:
    """Iterates over the decoded blocks (samples,) of a part of a recording, at the recording's own rate.

    The arguments are those of `decode`. rate: in Hz; 0 before the first block. seconds: length of a recording that
    ends before the part does. broken: whether the file is damaged or ends before the part does.
    """

    path: Path
    offset: float
    max_seconds: float | None
    track: int | None
    mix: Mix
    rate: int = 0
    seconds: float = 0.0
    broken: bool = False
    warnings: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the blocks. Raises UserError if the file cannot be read."""
        try:
            with open(self.path, "rb") as file:
                head = file.read(12)
            if head[:4] == b"RIFX":  # FFmpeg takes its samples for little-endian
                raise UserError(f"{self.path}: RIFX, a big-endian WAV: convert it, as by sox in.wav out.flac")
            options = OPTIONS | (OF_WAV if head[:4] == b"RIFF" and head[8:] == b"WAVE" else {})
            with av.open(f"file:{self.path}", options=options, metadata_errors="ignore") as container:
                yield from self._blocks(container)
        except (av.FFmpegError, OSError, ValueError, IndexError, MemoryError) as error:
            reason = why_not(self.path, error, "audio that FFmpeg can read")
            if isinstance(error, av.InvalidDataError) and any(head[at:].startswith(m) for m, at in INDEXED.items()):
                reason = "damaged or cut short: its index is missing"
            raise UserError(f"{self.path}: {reason}") from None

    def _blocks(self, container: av.container.InputContainer) -> Iterator[np.ndarray]:
        stream, self.warnings = pick_stream(container, self.track, str(self.path))
        start = float((stream.start_time or 0) * stream.time_base)
        if self.offset > 0:
            with suppress(av.FFmpegError):  # no index to seek by: decode from the start and drop samples
                before = max(0.0, self.offset - PREROLL_SECONDS)
                container.seek(int((start + before) / stream.time_base), stream=stream)
        to_float = av.AudioResampler(format="flt")  # packed, because PyAV crashes on eight planes or more
        trusts_flags = container.format.name not in SIZED
        skip, missing, end, last = 0, math.inf, 0.0, b""
        packets = container.demux(stream)
        while missing > 0:
            try:
                packet = next(packets, None)
            except av.FFmpegError:
                packet, self.broken = None, True
            if packet is None:
                break
            last = packet if packet.size else last
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self.broken = True
                continue
            settled = not self.offset or skip <= 0 < self.rate  # the first frame after a seek may be incomplete
            if trusts_flags and settled and (packet.is_corrupt or any(frame.is_corrupt for frame in frames)):
                self.broken = True
            for frame in frames:
                if not self.rate:
                    self.rate = check_rate(frame.sample_rate, str(self.path))
                    missing = round(self.max_seconds * self.rate) if self.max_seconds else math.inf
                    skip = max(0, round((self.offset + start - (frame.time or 0.0)) * self.rate))
                    layout = frame.layout.name
                if (frame.sample_rate, frame.layout.name) != (self.rate, layout):
                    self.broken = True  # the format changes midway: use the samples before
                    return
                for converted in to_float.resample(frame):
                    block = converted.to_ndarray().reshape(-1, converted.layout.nb_channels)
                    end = max(end, (frame.time or 0.0) - start + len(block) / self.rate)
                    dropped = min(skip, len(block))
                    skip -= dropped
                    block = block[dropped : dropped + int(min(missing, len(block)))]
                    missing -= len(block)
                    if len(block):
                        yield self.mix(block)
        if missing > 0:
            stored = stored_seconds(container, stream, self.path)
            self.seconds = max(end, stored)
        if missing > 0 and self.rate:
            self.broken |= end < 0.98 * stored - 0.1 or ends_early(self.path) or is_cut(bytes(last))


def _join(chunks: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(chunks) if chunks else np.zeros(0, np.float32)


def sound_begins(
    path: str | Path, silence_dbfs: float, offset: float, track: int | None = None, channel: int | None = None
) -> float | None:
    """Where the first sound after `offset` begins, in s; None if there is none within SEARCH_SECONDS.

    The recording is decoded block by block and not kept. Arguments and exceptions are those of `decode`.
    """
    reading = Reading(Path(path), offset, SEARCH_SECONDS, track, Mix(channel, str(path)))
    blocks: list[np.ndarray] = []
    done = 0
    for block in itertools.chain(reading, [None]):
        if block is not None:
            blocks.append(np.nan_to_num(block, posinf=0.0, neginf=0.0))
        if block is None or sum(map(len, blocks)) >= reading.rate:
            piece = _join(blocks)
            first = onset(without_offset(piece, reading.rate), reading.rate, silence_dbfs) if len(piece) else None
            if first is not None:
                return offset + (done + first) / reading.rate
            done, blocks = done + len(piece), []
    return None
