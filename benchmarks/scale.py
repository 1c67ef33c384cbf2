"""Many clips in many shards, simulated: time and memory of listing, merging and the cache. `python benchmarks/scale.py`

Nothing is encoded. The files of the most clips are not made: their names are given to the code that follows the search
of the folders. Takes half an hour, 8 GB of memory and as much disk.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from speech2face.data.folders import Found
from speech2face.data.parquet import write_embeddings
from speech2face.inference.cache import Cache
from speech2face.pipelines.shards import bounds
from speech2face.run import inputs
from speech2face.run.results import Results
from speech2face.run.table import EMBEDDINGS, GROUP

FOLDER = 1000  # files of a folder


def names(start: int, end: int) -> Iterator[str]:
    """Names like those of VoxCeleb: the stems repeat in every folder."""
    return (f"id{number // FOLDER:06d}/{number % FOLDER:05d}.wav" for number in range(start, end))


def digest(number: int) -> str:
    return f"{number:064x}"


def list_files(home: Path, count: int) -> None:
    """List files on disk."""
    for name in names(0, count):
        if name.endswith("/00000.wav"):
            (home / name).parent.mkdir()
        os.close(os.open(home / name, os.O_CREAT))
    measure(lambda: inputs.find_inputs([home], "speech", "audio"))


def list_names(home: Path, count: int) -> None:
    """List names alone, without a file system."""
    inputs.search = lambda base, **_: (Found(name, f"{base}/{name}") for name in names(0, count))
    measure(lambda: inputs.find_inputs([home], "speech", "audio"))


def open_cache(home: Path, count: int) -> None:
    """Open a cache of embeddings, whose numbers are a hole in the file."""
    folder = Cache(home, {}).folder
    with open(folder / "sha256.txt", "w") as file:
        file.writelines(f"{digest(number)}\n" for number in range(count))
    os.truncate(folder / "embeddings.f32", 4 * 4096 * count)
    measure(lambda: Cache(home, {}))


def measure(function: Callable[[], object]) -> None:
    """Print seconds of wall time and of the processor, and MB of greatest resident memory."""
    before, began, cpu = peak(), time.perf_counter(), time.process_time()
    function()
    print(json.dumps([time.perf_counter() - began, time.process_time() - cpu, peak() - before]))


def peak(who: int = resource.RUSAGE_SELF) -> float:
    return resource.getrusage(who).ru_maxrss / 1024


def make_shards(home: Path, count: int, shards: int, embeddings: bool) -> None:
    """Write the directories that a sweep leaves with write=embeddings; without `embeddings`, all but the table."""
    generator = np.random.default_rng(0)
    numbers = generator.normal(size=(GROUP, 4096)).astype(np.float32)
    for shard in range(shards):
        start, end = bounds(shard, shards, count)
        folder = home / str(shard)
        (folder / ".hydra").mkdir(parents=True)
        part = {"shard": shard, "shards": shards, "inputs": count, "names": "", "options": ""}
        counts = {"done": end - start, "failed": 0, "passed_over": 0}
        (folder / "run.json").write_text(
            json.dumps({"status": "finished", "part": part, "counts": counts, "weights": {}})
        )
        rows = [
            {"input": name, "sha256": digest(number), "status": "done", "seconds": 0.1, "output": name[:-4]}
            | {"audio_seconds": 6.0, "level_dbfs": -23.1, "windows": 1, "speech_share": 0.9}
            for number, name in zip(range(start, end), names(start, end), strict=True)
        ]
        Results(folder, ("audio_seconds", "level_dbfs", "windows", "speech_share"), rows).close()
        if embeddings:
            texts = [{"input": row["input"], "person": None, "sha256": row["sha256"]} for row in rows]
            groups = [texts[at : at + GROUP] for at in range(0, len(texts), GROUP)]
            columns = ({name: [row[name] for row in group] for name in group[0]} for group in groups)
            write_embeddings(folder / EMBEDDINGS, ((one, numbers[: len(one["input"])]) for one in columns))


def merge(home: Path) -> list[float]:
    """Seconds of wall time and of the processor, and MB, of `python run.py pipeline=merge`."""
    log = home / "log"
    command = [sys.executable, str(ROOT / "run.py"), "pipeline=merge", f"runs={home}", f"hydra.run.dir={home}/merged"]
    began = time.perf_counter()
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(log.read_text())
    return [time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=10_000_000, help="the most clips")
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)  # what a process of its own measures, and clips
    options = parser.parse_args()
    if options.part:
        name, count = options.part
        with tempfile.TemporaryDirectory() as home:
            globals()[name](Path(home), int(count))
        return
    most = options.clips
    parts = [("list_files", most // 100), ("list_files", most // 10), ("list_names", most), ("open_cache", most)]
    print("| | clips | s | CPU s | MB |\n| --- | --- | --- | --- | --- |")
    for name, count in parts:
        command = [sys.executable, __file__, "--part", name, str(count)]
        found = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
        show(globals()[name].__doc__, count, found)
    for count, embeddings in ((most, False), (most // 100, True)):
        with tempfile.TemporaryDirectory() as home:
            make_shards(Path(home), count, options.shards, embeddings)
            show(f"Merge {options.shards} shards{', with embeddings' * embeddings}.", count, merge(Path(home)))


def show(what: str, count: int, found: list[float]) -> None:
    print(f"| {what.rstrip('.')} | {count:,} | {found[0]:.1f} | {found[1]:.1f} | {found[2]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
