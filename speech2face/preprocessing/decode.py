"""Decode audio: any file that FFmpeg can open -> mono samples. Works in process and reads no more than is needed."""

import logging
import math
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from speech2face.errors import UserError, why_not

logging.getLogger("libav").setLevel(logging.CRITICAL)  # errors are raised below

# Kaiser-windowed sinc: at 16 kHz it is flat to 7.4 kHz and below -90 dB from 8.2 kHz (tests/test_decode.py).
# It interpolates between filter phases, so an odd or hostile sample rate costs no more than a usual one.
RESAMPLER = "filter_size=128:cutoff=0.97:filter_type=kaiser:kaiser_beta=12"
# Formats that list other files or addresses. They are not read, lest an untrusted file make FFmpeg open others.
PLAYLISTS = {"hls", "dash", "concat", "concatf", "imf", "sdp", "rtsp", "rtp", "sap", "image2", "webm_dash_manifest"}
OPTIONS = {"protocol_whitelist": "file", "format_whitelist": ",".join(sorted(av.formats_available - PLAYLISTS))}
PREROLL_SECONDS = 0.5  # decoded and discarded after a seek, because lossy codecs need some packets to settle


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


def decode_audio(
    path: str | Path, sample_rate: int = 16_000, offset: float = 0.0, max_seconds: float | None = 60.0
) -> tuple[np.ndarray, list[str]]:
    """Decode `max_seconds` of a recording (None: all) from `offset` seconds on.

    Channels are averaged. Samples that are not finite become silence. A truncated file is used up to its end.

    Returns (samples,) float32 at `sample_rate` Hz, nominally in [-1, 1], and warnings.
    Raises UserError if the file is missing, is not media, has no audio stream, is empty, or is all NaN.
    """
    name = str(path)
    warnings: list[str] = []
    try:
        with av.open(f"file:{path}", options=dict(OPTIONS), metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise UserError(f"{name}: there is no audio in it")
            waveform, rate, broken = _decode_stream(container, offset, max_seconds)
    except (av.FFmpegError, OSError, ValueError, IndexError, MemoryError) as error:
        raise UserError(f"{name}: {why_not(Path(path), error, 'audio that FFmpeg can read')}") from None
    if broken:
        warnings.append("damaged or cut short: used what could be decoded")
    waveform, unfit = silence_unfit(waveform, name)
    waveform = resample(waveform, rate, sample_rate)
    if not len(waveform):
        start = f" after {offset:g} s" if offset else ""
        raise UserError(f"{name}: no audio could be decoded{start}")
    return waveform, warnings + unfit


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


def _decode_stream(
    container: av.container.InputContainer, offset: float, max_seconds: float | None
) -> tuple[np.ndarray, int, bool]:
    """Mono samples of the first audio stream at its own rate, that rate in Hz, and whether the stream is damaged."""
    stream = container.streams.audio[0]
    start = float((stream.start_time or 0) * stream.time_base)
    if offset > 0:
        with suppress(av.FFmpegError):  # no index to seek by: decode from the start and drop samples
            container.seek(int((start + max(0.0, offset - PREROLL_SECONDS)) / stream.time_base), stream=stream)
    to_float = av.AudioResampler(format="flt")  # packed, because PyAV crashes on eight planes or more
    chunks: list[np.ndarray] = []
    rate, skip, missing, broken = 0, 0, math.inf, False
    packets = container.demux(stream)
    while missing > 0:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            packet, broken = None, True
        if packet is None:
            break
        try:
            frames = packet.decode()
        except av.FFmpegError:
            broken = True
            continue
        for frame in frames:
            if not rate:
                rate = frame.sample_rate
                missing = round(max_seconds * rate) if max_seconds else math.inf
                skip = max(0, round((offset + start - (frame.time or 0.0)) * rate))
                layout = frame.layout.name
            if (frame.sample_rate, frame.layout.name) != (rate, layout):
                return _join(chunks), rate, True  # the format changes midway: use the samples before
            for converted in to_float.resample(frame):
                mono = converted.to_ndarray().reshape(-1, converted.layout.nb_channels).mean(axis=1, dtype=np.float32)
                dropped = min(skip, len(mono))
                skip -= dropped
                mono = mono[dropped : dropped + int(min(missing, len(mono)))]
                missing -= len(mono)
                chunks.append(mono)
    waveform = _join(chunks)
    claimed = float(stream.duration * stream.time_base) if stream.duration else 0.0
    if missing > 0 and rate and offset + len(waveform) / rate < 0.9 * claimed - 0.1:
        broken = True  # shorter than its header says; 0.9 allows for durations estimated from the bit rate
    return waveform, rate, broken


def _join(chunks: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
