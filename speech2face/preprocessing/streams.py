"""The container of a recording: choose the audio track, and find out whether the file is truncated.

FFmpeg estimates the duration of some files from their bit rate, which proves nothing. Reliable is what the container
stores: a size, a duration, or the mark on its last page.
"""

import os
import re
from pathlib import Path
from typing import BinaryIO

import av

from speech2face.errors import UserError

# Formats that refer to other files or addresses. They are not read, because an untrusted file must not open others.
PLAYLISTS = {"hls", "dash", "concat", "concatf", "imf", "sdp", "rtsp", "rtp", "sap", "image2", "webm_dash_manifest"}
OPTIONS = {"protocol_whitelist": "file", "format_whitelist": ",".join(sorted(av.formats_available - PLAYLISTS))}
LEAST_RATE, MOST_RATE = 1000, 1_000_000  # Hz
# Formats whose header states the size of the audio. FFmpeg marks their last packet as corrupt even in intact files.
SIZED = {"wav", "w64", "caf", "aiff", "au"}
STORED = SIZED | {"flac", "mov,mp4,m4a,3gp,3g2,mj2", "asf", "tta", "wv", "ape"}  # the header states the duration
# kbit/s of MPEG audio by the field in a frame's header: of version 1 by layer, and of versions 2 and 2.5.
KBITS = {
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    0: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
SLACK_BYTES = 128  # some programs include the header in the size of the audio
TS_PACKET, TS_MARK = 188, b"G"  # of an MPEG transport stream: bytes, and the first one
OGG_PAGE = 65_307  # bytes of the longest page
UNKNOWN = (0, 0x7FFF0000)  # sizes in a WAV header that was written to a pipe: 0, or at least the second


def check_rate(rate: float, name: str) -> int:
    """Check a sample rate in Hz and return it as an integer. Raises UserError, naming the recording, if it is wrong."""
    if not LEAST_RATE <= rate <= MOST_RATE:
        raise UserError(
            f"{name}: a sample rate of {rate:.10g} Hz: must be from {LEAST_RATE} to {MOST_RATE} Hz; damaged?"
        )
    return int(rate)


def pick_stream(
    container: av.container.InputContainer, track: int | None, name: str
) -> tuple[av.audio.stream.AudioStream, list[str]]:
    """Choose the audio track. Returns it, and a warning that names the others if there are several.

    track: index among the audio tracks; None: the one that FFmpeg considers best, which is the default track if any.
    Raises UserError, naming the recording, if there is no such track or no audio.
    """
    tracks = list(container.streams.audio)
    if not tracks:
        raise UserError(f"{name}: there is no audio in it")
    if track is not None and track >= len(tracks):
        numbers = ", ".join(map(str, range(len(tracks))))
        raise UserError(f"{name}: preprocessing.track={track}: its audio tracks are {numbers}")
    readable = [one for one in tracks if one.codec_context is not None]
    best = container.streams.best("audio")
    stream = tracks[track] if track is not None else best if best in readable else (readable or tracks)[0]
    if stream.codec_context is None:
        raise UserError(f"{name}: FFmpeg has no decoder for the sound in it; convert it with the program that made it")
    check_rate(stream.rate or LEAST_RATE, name)
    if len(tracks) == 1 or track is not None:
        return stream, []
    named = {one.index: f"{number}{_label(one)}" for number, one in enumerate(tracks)}
    chosen = named.pop(stream.index)
    listed = ", ".join(list(named.values())[:8])
    return stream, [f"{len(tracks)} audio tracks: took {chosen}; preprocessing.track= takes another: {listed}"]


def _label(stream: av.audio.stream.AudioStream) -> str:
    """The language and title of a track in brackets, as far as the file states them."""
    words = [stream.metadata.get(key, "") for key in ("language", "title")]
    words = ["".join(c for c in word if c.isprintable())[:40] for word in words if word not in ("", "und")]
    return f" ({', '.join(words)})" if words else ""


def stored_seconds(container: av.container.InputContainer, stream: av.audio.stream.AudioStream, path: Path) -> float:
    """The duration of a track in s that its container stores; 0.0 if it stores none."""
    start = float((stream.start_time or 0) * stream.time_base)
    if tag := re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", "")):  # Matroska
        return max(3600 * int(tag[1]) + 60 * int(tag[2]) + float(tag[3]) - start, 0.0)
    if container.format.name == "flv":
        return (container.duration or 0) / av.time_base - start
    if not stream.duration or not (container.format.name in STORED or _counts_frames(path)):
        return 0.0
    return float(stream.duration * stream.time_base)


def _counts_frames(path: Path) -> bool:
    """Whether an MP3 file has a header that states the number of frames."""
    with open(path, "rb") as file:
        head = file.read(10)
        tag = head[:3] == b"ID3"
        size = 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True)) * tag
        file.seek(size if tag else 0)
        first = file.read(1024)
    return any(mark in first for mark in (b"Xing", b"Info", b"VBRI"))


def is_cut(packet: bytes) -> bool:
    """Whether a frame of MPEG audio (layer II or III) is shorter than its header says. Other packets are not.

    The decoder takes the last frame of a file as it is.
    """
    head = int.from_bytes(packet[:4], "big")
    version, layer, kbits, rate = head >> 19 & 3, 4 - (head >> 17 & 3), head >> 12 & 15, head >> 10 & 3
    if head >> 21 != 0x7FF or version == 1 or layer not in (2, 3) or kbits in (0, 15) or rate == 3:
        return False
    hertz = (44_100, 48_000, 32_000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    samples = 1152 if version == 3 or layer == 2 else 576
    return len(packet) < samples * 125 * KBITS[layer if version == 3 else 0][kbits] // hertz


def ends_early(path: Path) -> bool:
    """Whether a file is truncated: shorter than its container states, or without the mark of its end.

    False for containers that store neither.
    """
    size = os.stat(path).st_size
    with open(path, "rb") as file:
        head = file.read(12)
        if head[:4] == b"OggS":
            return not _ogg_is_closed(file, size)
        if head[:4] == b"\x1a\x45\xdf\xa3":
            end = _segment_end(file)
        elif head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:] == b"WAVE":
            end = _data_end(file, 12, "little", 4)
        elif head[:4] == b"caff":
            end = _data_end(file, 8, "big", 8)
        elif head[:4] == b"riff":  # Sony Wave64
            file.seek(16)
            end = int.from_bytes(file.read(8), "little")
        elif head[:1] == TS_MARK and all(_at(file, n * TS_PACKET, 1) == TS_MARK for n in (1, 2, 3)):
            return size % TS_PACKET != 0
        else:
            return False
    return end is not None and end > size + SLACK_BYTES


def _at(file: BinaryIO, place: int, size: int) -> bytes:
    file.seek(place)
    return file.read(size)


def _data_end(file: BinaryIO, place: int, order: str, width: int) -> int | None:
    """The end, in bytes, that the chunk `data` of a RIFF or CAF file states; None if it states none.

    place: of the first chunk. order: byte order of the sizes. width: bytes of a size.
    """
    long = None
    for _ in range(1000):
        file.seek(place)
        name, field = file.read(4), file.read(width)
        if len(field) < width:
            return None
        size = int.from_bytes(field, order)
        if name == b"ds64":
            long = int.from_bytes(file.read(16)[8:], "little")
        if name == b"data":
            if width == 8:
                return None if size >> 63 else place + 12 + size  # -1: to the end of the file
            if long is not None:
                return place + 8 + long
            return None if size == UNKNOWN[0] or size >= UNKNOWN[1] else place + 8 + size
        place += 4 + width + size + (size % 2 if width == 4 else 0)
    return None


def _segment_end(file: BinaryIO) -> int | None:
    """The end, in bytes, that the segment of a Matroska or WebM file states; None if it states none."""

    def number() -> int | None:
        first = file.read(1)
        if not first or not first[0]:
            return None
        length = 9 - first[0].bit_length()
        value = int.from_bytes(first + file.read(length - 1), "big") & ((1 << 7 * length) - 1)
        return None if value == (1 << 7 * length) - 1 else value

    file.seek(4)
    header = number()
    if header is None:
        return None
    file.seek(header, os.SEEK_CUR)
    if file.read(4) != b"\x18\x53\x80\x67":
        return None
    size = number()
    return None if size is None else file.tell() + size


def _ogg_is_closed(file: BinaryIO, size: int) -> bool:
    """Whether the last page of an Ogg file is complete and marked as the end of its stream."""
    file.seek(max(0, size - OGG_PAGE))
    tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return False
    return bool(page[5] & 4) and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])
