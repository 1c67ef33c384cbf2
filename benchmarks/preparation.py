"""Speed of preparing and loading data, and its growth: `python benchmarks/preparation.py TALKERS [MOST]`.

TALKERS: a dataset with audios and images; some of its files are measured and decoded, on one core. MOST: clips of the
largest simulated manifest (1000000, which takes 6 GB of disk in the temporary directory). A manifest has a tenth as
many people as clips, and one photo of each. Prints the tables of docs/benchmarks.md.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # this checkout, and not what is installed

if TYPE_CHECKING:
    from speech2face.inference.encoder import Encoder

SAMPLE = 150  # files of each kind
BATCH, WORKERS = 64, 2
LONG_SECONDS = 600
STEPS = 10
LEAST = 1000  # clips of a manifest, for the first batch and STEPS more


def main(talkers: Path, most: int) -> None:
    one_core(talkers)
    print("\n| clips | people | merge, s | MB | first batch, s | MB | batches/s | without decoding |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    clips = max(most // 100, LEAST)
    while clips <= most:
        with tempfile.TemporaryDirectory() as directory:
            row = [f"{clips:,}", f"{clips // 10:,}"]
            for step in ("merge", "load"):
                command = [sys.executable, __file__, step, directory, str(talkers.absolute()), str(clips)]
                row += json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print("| " + " | ".join(row) + " |", flush=True)
        clips *= 10


def one_core(talkers: Path) -> None:
    """Files per CPU second of preparation and of training's loader, on one thread."""
    import torch

    from speech2face.data.dataset import read_dataset
    from speech2face.preparation.measure import PhotoReader, recording
    from speech2face.preparation.sources import File
    from speech2face.preprocessing.channel import encode
    from speech2face.preprocessing.decode import decode
    from speech2face.training.data import Clips

    torch.set_num_threads(1)
    dataset = read_dataset(talkers)
    files = {
        modality: [File(person, path, 0, 0) for person in found.people[:SAMPLE] for path in found[person]][:SAMPLE]
        for modality, found in dataset.files.items()
    }
    face = built("face", "pipeline=prepare")
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        for path in talkers.iterdir():
            (root / path.name).symlink_to(path.absolute())
        if (root / "prepared").is_symlink():
            (root / "prepared").unlink()
        (root / "prepared" / "crops").mkdir(parents=True)
        reader = PhotoReader(root, face, landmarks=True)
        reader(files["face"][:2])
        recording(root, files["speech"][0])
        print("| on one core | a second of its time |\n| --- | --- |")
        rows: list[dict] = []
        seconds = cpu_seconds(lambda: rows.extend(recording(talkers, file) for file in files["speech"]))
        print(f"| recordings prepared | {len(rows) / seconds:.0f} |")
        print(f"| seconds of recordings prepared | {sum(row['seconds'] for row in rows) / seconds:.0f} |")
        print(f"| photos prepared, 224 x 224 | {SAMPLE / cpu_seconds(lambda: reader(files['face'])):.0f} |")
        for name in ("paper", "ast"):
            audio = built("encoder", "pipeline=speech", f"encoder={name}").preprocessing
            for augment in (False, True):
                people = dataset.files["speech"].people[: SAMPLE // 3]
                starts = np.arange(len(people) + 1)
                faces = np.zeros((len(people), 4096), np.float32)
                speech = dataset.files["speech"]
                clips = Clips(talkers, speech, people, starts, faces, audio, seconds=5.0, augment=float(augment))
                seconds = cpu_seconds(lambda clips=clips: [clips[0, row] for row in range(len(clips))])
                print(f"| windows of 5 s for `{name}`{', augmented' * augment} | {len(clips) / seconds:.0f} |")
        tone = (0.1 * np.sin(np.arange(LONG_SECONDS * 16000) * 0.05)).astype(np.float32)
        for form, codec, rate in (("flac", "flac", 0), ("wav", "pcm_s16le", 0), ("mp3", "libmp3lame", 64000)):
            (root / f"long.{form}").write_bytes(encode(tone, codec, form, rate))
            starts = np.random.default_rng(0).uniform(0, LONG_SECONDS - 5, SAMPLE)
            long = root / f"long.{form}"
            seconds = cpu_seconds(lambda long=long, starts=starts: [decode(long, 16000, s, 5.0) for s in starts])
            print(f"| windows of 5 s decoded, anywhere in ten minutes of {form} | {SAMPLE / seconds:.0f} |")


def built(slot: str, *overrides: str) -> "Encoder":
    """The encoder in a slot of a pipeline, on the CPU, as the pipeline itself builds it."""
    from speech2face.config.compose import options_of, store_defaults
    from speech2face.pipelines.parts import build_encoder, load_parts, locate_parts

    store_defaults()
    options = options_of(*overrides, "device=cpu")
    return build_encoder(load_parts(options, locate_parts(options))[slot], options)


def cpu_seconds(call: Callable[[], Any]) -> float:
    """Time in s that this process computes for a call, whatever else the machine does."""
    began = time.process_time()
    call()
    return time.process_time() - began


def timed(call: Callable[[], Any]) -> float:
    """Wall time in s of a call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def report(*values: str) -> None:
    """Print cells of the table for the parent process."""
    print(json.dumps(values))


def megabytes() -> str:
    """Greatest resident memory of this process until now. (That of getrusage begins with the parent process's.)"""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return f"{int(found[1]) / 1024:,.0f}"


def merge(root: Path, talkers: Path, clips: int) -> None:
    """Write the tables of so many clips, from rows as preparation leaves them; report seconds and peak memory."""
    from speech2face.data.dataset import read_dataset
    from speech2face.inference.cache import WIDTH, identity
    from speech2face.preparation import manifest
    from speech2face.preparation.sources import File

    by = json.dumps(identity(built("face", "pipeline=prepare")), sort_keys=True)
    (root / "prepared" / "parts").mkdir(parents=True)
    sound = read_dataset(talkers).files["speech"]
    real = [f"sound/{sound.path(row)}" for row in range(min(64, int(sound.offsets[-1])))]
    (root / "sound").symlink_to(talkers)
    people = [f"id{i:06d}" for i in range(clips // 10)]
    notes = {"clips": {"code": "1"}, "faces": {"code": "1", "encoder": by}}
    embedding = np.random.default_rng(0).random(WIDTH, np.float32)
    files = {
        "clips": [File(people[i // 10], real[i % len(real)], i, 0) for i in range(clips)],
        "faces": [File(person, f"{person}/images/00.jpg", 1, 0) for person in people],
    }
    measured = {
        "clips": {"seconds": 6.0, "level_dbfs": -20.0, "speech_share": 0.9},
        "faces": {"width": 224, "height": 224, "faces": 1, "embedding": embedding},
    }
    splits = {person: "val" if i % 10 == 0 else "train" for i, person in enumerate(people)}
    for kind, listed in files.items():
        part = manifest.Part(root / "prepared" / "parts" / f"{kind}-all", kind, notes[kind])
        for start in range(0, len(listed), 64):
            rows = []
            for i, file in enumerate(listed[start : start + 64], start):
                row = {"person": file.person, "path": file.path, "bytes": file.size, "mtime_ns": 0, "sha256": str(i)}
                rows.append(row | measured[kind])
            part.append(rows)
    began = time.perf_counter()
    for kind, listed in files.items():
        manifest.merge(root / "prepared", kind, listed, splits, {}, notes[kind])
    lines = [f"{person},{split}" for person, split in splits.items()]
    (root / "prepared" / "people.csv").write_text("\n".join(["person,split", *lines]) + "\n")
    report(f"{time.perf_counter() - began:.1f}", megabytes())


def load(root: Path, talkers: Path, clips: int) -> None:
    """Report seconds until the first batch of a training, peak memory, batches a second, and the same undecoded."""
    began = time.perf_counter()
    import torch
    from torch.utils.data import DataLoader

    from speech2face.data.dataset import read_dataset
    from speech2face.data.embeddings import embed_photos
    from speech2face.training.data import Clips
    from speech2face.training.mixture import Shuffled

    face, audio = built("face", "pipeline=prepare"), built("encoder", "pipeline=speech", "encoder=paper").preprocessing
    dataset = read_dataset(root)
    people = dataset.split("train")
    photos = embed_photos(dataset, people, face, root, 1, "photos")
    rows = Clips(root, dataset.files["speech"], people, photos.starts, photos.embeddings, audio, seconds=3.0)
    sampler = Shuffled(len(rows), 0, starts=rows.starts)
    loader = iter(DataLoader(rows, BATCH, sampler=sampler, num_workers=WORKERS, multiprocessing_context="fork"))
    next(loader)
    first, memory = time.perf_counter() - began, megabytes()
    seconds = timed(lambda: [next(loader) for _ in range(STEPS)])
    rows.features = lambda row, random: torch.zeros(2, 257, 298)
    items = iter(sampler)
    bare = timed(lambda: [[rows[next(items)] for _ in range(BATCH)] for _ in range(STEPS)])
    report(f"{first:.1f}", memory, f"{STEPS / seconds:.2f}", f"{STEPS / bare:.0f}")


if __name__ == "__main__":
    if sys.argv[1] in ("merge", "load"):
        {"merge": merge, "load": load}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000)
