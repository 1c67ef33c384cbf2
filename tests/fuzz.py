"""Fuzzing of the readers: damaged files of every kind end in a result or in a UserError, and within 10 seconds.

    python tests/fuzz.py 10000                 # of each kind
    python tests/fuzz.py 10000 photos --seed 7

The damage of a file is drawn from the seed and the number of the file. Each file is read in a process of its own,
which may crash or hang. The files of the failed cases are kept in a directory that is printed. The exit status is 1 if
there are any.
"""

import argparse
import io
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

LIMIT_SECONDS = 10.0
LIMIT_BYTES = 8 << 30  # of a reading process
EXTREMES = (0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF)


def mutate(content: bytes, random: np.random.Generator) -> bytes:
    """Damage a file: one to four of bit flips, extreme bytes, cuts, spliced, repeated and swapped pieces."""
    data = bytearray(content)
    for _ in range(random.integers(1, 5)):
        mutation = MUTATIONS[random.integers(len(MUTATIONS))]
        if len(data) >= 16:
            mutation(data, random)
    return bytes(data)


def flip_bits(data: bytearray, random: np.random.Generator) -> None:
    for place in _places(data, random, random.integers(1, 9)):
        data[place] ^= 1 << int(random.integers(8))


def set_extremes(data: bytearray, random: np.random.Generator) -> None:
    """Up to eight bytes in a row become extreme numbers, as of a length or a rate in a header."""
    (place,) = _places(data, random, 1)
    size = int(2 ** random.integers(0, 4))
    data[place : place + size] = bytes([EXTREMES[random.integers(len(EXTREMES))]] * size)


def cut(data: bytearray, random: np.random.Generator) -> None:
    del data[int(random.integers(len(data))) :]


def splice(data: bytearray, random: np.random.Generator) -> None:
    """Random bytes are inserted, or written over others."""
    (place,) = _places(data, random, 1)
    new = random.bytes(int(random.integers(1, 65)))
    data[place : place + len(new) * int(random.integers(2))] = new


def remove_piece(data: bytearray, random: np.random.Generator) -> None:
    start, end = _piece(data, random)
    del data[start:end]


def repeat_piece(data: bytearray, random: np.random.Generator) -> None:
    start, end = _piece(data, random)
    data[end:end] = data[start:end]


def swap_pieces(data: bytearray, random: np.random.Generator) -> None:
    a, b, c = sorted(random.integers(0, len(data) + 1, 3))
    data[a:c] = data[b:c] + data[a:b]


MUTATIONS = [flip_bits, flip_bits, set_extremes, set_extremes, cut, splice, remove_piece, repeat_piece, swap_pieces]


def _places(data: bytearray, random: np.random.Generator, count: int) -> list[int]:
    """Half of them are in the first 256 bytes, where the headers are."""
    size = len(data) if random.integers(2) else min(256, len(data))
    return [int(place) for place in random.integers(0, size, count)]


def _piece(data: bytearray, random: np.random.Generator) -> tuple[int, int]:
    (start,) = _places(data, random, 1)
    return start, min(len(data), start + int(random.integers(1, 1 + len(data) // 4)))


def photos() -> dict[str, bytes]:
    import tifffile
    from PIL import Image, features
    from PIL.PngImagePlugin import PngInfo

    x, y = np.meshgrid(np.arange(48), np.arange(32))
    picture = Image.fromarray(np.stack([x * 5, y * 7, x * y % 256], axis=-1).astype(np.uint8))
    exif, text = Image.Exif(), PngInfo()
    exif.update({0x0112: 6, 0x011A: 72.0, 0x010E: "a photo"})
    text.add_text("workflow", "x" * 2000, zip=True)
    missing = {kind for kind, name in (("AVIF", "avif"), ("JPEG2000", "jpg_2000")) if not features.check(name)}
    found = {}
    for suffix, kind, options in (
        ("jpg", "JPEG", {"exif": exif}),
        ("progressive.jpg", "JPEG", {"progressive": True, "dpi": (72, 72)}),
        ("mpo", "MPO", {"save_all": True}),
        ("png", "PNG", {"exif": exif, "pnginfo": text}),
        ("apng", "PNG", {"save_all": True}),
        ("webp", "WEBP", {"exif": exif, "lossless": True}),
        ("gif", "GIF", {"save_all": True}),
        ("tiff", "TIFF", {"exif": exif, "compression": "tiff_lzw"}),
        ("pages.tiff", "TIFF", {"save_all": True}),
        ("jpeg.tiff", "TIFF", {"compression": "jpeg"}),
        ("raw.tiff", "TIFF", {"exif": exif}),
        ("bmp", "BMP", {}),
        ("dds", "DDS", {}),
        ("avif", "AVIF", {"exif": exif}),
        ("jp2", "JPEG2000", {}),
    ):
        if kind not in missing:
            stream = io.BytesIO()
            if "save_all" in options:
                options["append_images"] = [picture.rotate(90)]
            picture.copy().save(stream, kind, **options)  # a picture keeps settings of its last format
            found[suffix] = stream.getvalue()
    tifffile.imwrite(stream := io.BytesIO(), np.asarray(picture).astype(np.uint16) * 16, photometric="rgb")
    found["12 bits.tiff"] = stream.getvalue()
    return found


def audio() -> dict[str, bytes]:
    from conftest import tone, write_audio

    codecs = {"wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame", "ogg": "flac", "opus": "libopus"}
    codecs |= {"m4a": "aac", "mkv": "libopus", "aac": "aac", "aiff": "pcm_s16be", "mp2": "mp2", "flv": "libmp3lame"}
    codecs |= {"ts": "aac", "caf": "pcm_s16le", "w64": "pcm_s16le", "ac3": "ac3"}
    with tempfile.TemporaryDirectory() as folder:
        return {
            suffix: write_audio(Path(folder, f"a.{suffix}"), tone(0.5, 48_000), 48_000, codec).read_bytes()
            for suffix, codec in codecs.items()
        }


def checkpoints() -> dict[str, bytes]:
    import h5py
    import torch
    from safetensors.torch import save

    tensors = {f"layer{i}.{name}": torch.ones(3, 4) for i in range(3) for name in ("weight", "bias")}
    checkpoint = {"epoch": 3, "loss": np.float64(0.5), "state_dict": tensors}
    zipped, legacy, keras = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save(checkpoint, zipped)
    torch.save(checkpoint, legacy, _use_new_zipfile_serialization=False)
    with h5py.File(keras, "w") as file:
        file.attrs["layer_names"] = [b"conv1"]
        group = file.create_group("conv1")
        group.attrs["weight_names"] = [b"conv1/kernel:0", b"conv1/bias:0"]
        group["conv1/kernel:0"], group["conv1/bias:0"] = np.ones((3, 3, 2, 4), "f4"), np.ones(4, "f4")
    return {
        "pt": zipped.getvalue(),
        "legacy.pt": legacy.getvalue(),
        "safetensors": save(tensors),
        "h5": keras.getvalue(),
    }


def tables() -> dict[str, bytes]:
    rows = [
        f'person{i},{("train", "val", "test")[i % 3]},{"mf"[i % 2]},{20 + i},"a, ""quoted"" text"' for i in range(9)
    ]
    text = "\n".join(["person,split,sex,age,remark", *rows]) + "\n"
    spreadsheet = text.replace(",", ";").replace("\n", "\r\n")
    return {"csv": text.encode(), "bom.csv": spreadsheet.encode("utf-8-sig"), "tsv": text.encode("utf-16")}


def read_photo(path: Path) -> None:
    from speech2face.preprocessing.photo import open_image

    image = open_image(path)
    assert image.mode == "RGB" and image.width and image.height


def read_audio(path: Path) -> None:
    from speech2face.preprocessing.decode import decode

    samples = decode(path).waveform
    assert samples.ndim == 1 and len(samples) and np.isfinite(samples).all()


def read_checkpoint(path: Path) -> None:
    from speech2face.weights.read import read_state_dicts

    assert read_state_dicts(path)


def read_table(path: Path) -> None:
    from speech2face.data.people import read_people
    from speech2face.preparation.sources import read_names

    assert isinstance(read_people(path), dict)
    read_names(path, {"speech": ["person0", "Person1 "], "face": []})


KINDS = {
    "photos": (photos, read_photo),
    "audio": (audio, read_audio),
    "checkpoints": (checkpoints, read_checkpoint),
    "tables": (tables, read_table),
}


@cache
def seeds(kind: str) -> dict[str, bytes]:
    """Whole files of a kind, by suffix."""
    return KINDS[kind][0]()


def case(kind: str, seed: int, number: int) -> tuple[str, bytes]:
    """The name and the content of a damaged file."""
    random = np.random.default_rng([seed, number, list(KINDS).index(kind)])
    suffixes = list(seeds(kind))
    suffix = suffixes[number % len(suffixes)]
    return f"{number}.{suffix}", mutate(seeds(kind)[suffix], random)


class Reader:
    """A process that reads files of a kind. It is started again if it crashes or hangs."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.process: multiprocessing.Process | None = None

    def problem(self, path: Path) -> str | None:
        """Read a file. Returns what is wrong with how that ends, or None."""
        if self.process is None:
            self.connection, theirs = multiprocessing.Pipe()
            self.process = multiprocessing.Process(target=_serve, args=(theirs, KINDS[self.kind][1]), daemon=True)
            self.process.start()
            theirs.close()
            self.connection.recv()
        self.connection.send(path)
        try:
            if self.connection.poll(LIMIT_SECONDS):
                return self.connection.recv()
            problem = f"takes more than {LIMIT_SECONDS:g} s"
        except EOFError:
            self.process.join()
            problem = f"crashes with status {self.process.exitcode}"
        self.stop()
        return problem

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None


def _serve(connection: Connection, read: Callable[[Path], None]) -> None:
    from speech2face.errors import UserError

    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # codecs complain there
    with suppress(Exception):
        read(Path("no such file"))  # makes the imports
    connection.send("ready")
    while True:
        path = connection.recv()
        try:
            read(path)
            problem = None
        except UserError as error:
            named = str(path) in str(error) and "\n" not in str(error)
            problem = None if named else f"is not one line with its name: {error!r}"
        except BaseException as error:
            problem = f"raises {type(error).__name__}: {error}"
        connection.send(problem)


def failures(kind: str, count: int, seed: int, folder: Path) -> Iterator[tuple[Path, str] | None]:
    """Read `count` damaged files. Yields, for each, its file in `folder` and what is wrong, or None."""
    reader = Reader(kind)
    try:
        for number in range(count):
            name, content = case(kind, seed, number)
            path = folder / name
            path.write_bytes(content)
            problem = reader.problem(path)
            if problem is None:
                path.unlink()
            yield problem and (path, problem)
    finally:
        reader.stop()


def main() -> int:
    from tqdm import tqdm

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, help="damaged files of each kind")
    parser.add_argument("kind", nargs="?", choices=list(KINDS), help="all kinds, if it is left out")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    found, began = 0, time.monotonic()
    for kind in [arguments.kind] if arguments.kind else KINDS:
        for failure in tqdm(failures(kind, arguments.count, arguments.seed, folder), kind, arguments.count):
            if failure:
                found += 1
                tqdm.write(f"{failure[0]} {failure[1]}")
    print(f"{found} failures in {time.monotonic() - began:.0f} s" + (f", files in {folder}" if found else ""))
    if not found:
        folder.rmdir()
    return int(found > 0)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main())
