"""`pipeline=prepare`: measure recordings and photos, and write the manifest that training and evaluation read."""

import dataclasses
import json
import logging
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from speech2face.config.options import Prepare
from speech2face.data.dataset import TABLES
from speech2face.data.folders import FOLDERS, directory
from speech2face.data.parquet import is_manifest
from speech2face.errors import UserError
from speech2face.files import lock
from speech2face.pipelines.parts import build_encoder, check_modality, load_parts, locate_parts, settled
from speech2face.pipelines.shards import check_shard
from speech2face.pipelines.sources import sources
from speech2face.preparation.sources import File, find, shard_of
from speech2face.run.process import quick_imports, raise_lost_interrupt, single_thread, worker_processes
from speech2face.run.record import Run

if TYPE_CHECKING:
    from speech2face.preparation.manifest import Part, Row
    from speech2face.preparation.measure import PhotoReader

    Reader = Callable[[], PhotoReader]

log = logging.getLogger(__name__)
TOGETHER = 64  # files of a person that a process reads at a time
MEASURED = "4"  # version of the measurements: raise it when the code changes the rows
DEADLY = "the process that reads it dies: damaged beyond reading, or too large for the memory"
Chunk = tuple[str, list[File]]  # kind, and files of one person
SHOWN = 5  # folders and links that cannot be followed, in the log; the report has all
WORTH_A_PROCESS = 32  # files: measuring them takes about as long as the start of a process
KEPT_ROWS = 64  # rows per write, and so the most that a killed run loses


def prepare(options: Prepare, run: Run) -> int:
    """Measure the files that have not been measured yet. Without `shard`, then write manifest and report. Returns 0."""
    run.way_on = "the same command"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = options.workers or cores
    check_modality(options.face, "face", "pipeline=prepare")
    check_shard(options)
    if options.data.root is None:
        raise UserError("pipeline=prepare needs data.root= a directory: <person>/audios, <person>/images")
    root, bases, joined, traits = sources(options.data)
    with run.stage("find"):
        files = {TABLES[modality]: find(root, modality, bases[modality], joined[modality]) for modality in FOLDERS}
    listed_once = {file.path for file in files["clips"] if file.problem}  # a folder that is both kinds' problem
    files["faces"] = [file for file in files["faces"] if not (file.problem and file.path in listed_once)]
    problems = [file for listed in files.values() for file in listed if file.problem]
    if len(problems) == sum(map(len, files.values())):
        why = "".join(f"; {file.path}: {file.problem}" for file in problems[:1])
        raise UserError(f"data.root={root}: no <person>/audios or <person>/images with files there{why}")
    for file in problems[:SHOWN]:
        log.warning("%s: %s", root / file.path, file.problem)
    prepared = root / "prepared"
    for kind in files:
        if (prepared / f"{kind}.parquet").exists() and not is_manifest(prepared / f"{kind}.parquet"):
            raise UserError(f"{prepared}: has tables that are not of pipeline=prepare (talkers?); move it away first")
    located = locate_parts(options)
    with quick_imports():
        from speech2face.inference.cache import identity
        from speech2face.preparation import manifest
        from speech2face.preparation.measure import PhotoReader
    run.imported()
    with run.stage("load"):
        loaded = load_parts(options, located)
        face = build_encoder(loaded["face"], options)
        notes = {"clips": {"code": MEASURED}, "faces": {"code": MEASURED, "landmarks": str(options.landmarks)}}
        notes["faces"]["encoder"] = json.dumps(identity(face), sort_keys=True)
    run.record["weights"] = {slot: one.record() for slot, one in loaded.items()}
    run.save_options(settled(options, loaded, data=dataclasses.replace(options.data, root=str(root))))
    for folder in ("parts", "crops"):
        directory(prepared / folder, "data.root", make=True)
    lock(prepared, shared=options.shard is not None)
    reader = partial(PhotoReader, root, face, options.landmarks)
    share = "all" if options.shard is None else f"{options.shard:05d}-of-{options.shards:05d}"
    todo, parts = {}, {}
    for kind, listed in files.items():
        known = manifest.done(manifest.measured(prepared, kind, notes[kind]))
        own = listed if options.shard is None else shard_of(listed, options.shard, options.shards)
        todo[kind] = [file for file in own if manifest.key(file) not in known]
        path = prepared / "parts" / f"{kind}-{share}"
        path.touch()
        lock(path)
        parts[kind] = manifest.Part(path, kind, notes[kind])
        if known_bad := [file.row(error=file.problem) for file in todo[kind] if file.problem]:
            parts[kind].append(known_bad)
            todo[kind] = [file for file in todo[kind] if not file.problem]
    counts = {kind: len(files) for kind, files in todo.items()}
    with run.stage("measure"):
        if any(todo.values()):
            measure_all(root, todo, parts, reader, workers if options.shard is None else 0)
    run.save(counts=counts)
    log.info("measured %s", ", ".join(f"{count} {kind}" for kind, count in counts.items()))
    if options.shard is None:
        from speech2face.preparation.finish import finish

        with run.stage("write"):
            finish(root, files, traits, notes, options.seed, partial(on_processes, workers))
    return 0


def measure_all(
    root: Path, todo: dict[str, list[File]], parts: "dict[str, Part]", reader: "Reader", workers: int
) -> None:
    """Measure files and append their rows to part files.

    todo, parts: files and part file by kind. reader: builds the reader of photos in each process.
    workers: number of processes, of one thread each, or fewer for few files; 0: measure in this process.
    """
    import torch

    chunks = [
        (kind, members[start : start + TOGETHER])
        for kind, files in todo.items()
        for members in (list(group) for _, group in groupby(files, key=lambda file: file.person))
        for start in range(0, len(members), TOGETHER)
    ]
    if workers:
        files = sum(map(len, todo.values()))
        found = in_processes(chunks, min(workers, len(chunks), 1 + files // WORTH_A_PROCESS), root, reader)
    else:
        torch.set_num_threads(1)  # as in workers, because the last digits of an embedding depend on it
        begin(root, reader)
        found = (measure_here(chunk) for chunk in chunks)
    rows: dict[str, list[Row]] = {kind: [] for kind in todo}
    try:
        with closing(found), tqdm(total=sum(map(len, todo.values())), unit="file") as bar:
            for kind, more in found:
                raise_lost_interrupt()
                rows[kind] += more
                bar.update(len(more))
                if len(rows[kind]) >= KEPT_ROWS:
                    parts[kind].append(rows[kind])
                    rows[kind] = []
    finally:
        for kind, rest in rows.items():
            if rest:
                parts[kind].append(rest)


def in_processes(
    chunks: Iterable[Chunk], workers: int, root: Path, reader: "Reader", careful: bool = False
) -> "Generator[tuple[str, list[Row]], None, None]":
    """Measure chunks on `workers` processes. Yields the results of `measure_here`, in any order.

    If a process dies, the files that it may have been reading are read again one at a time (careful). A file that then
    ends a process gets a row with the error DEADLY.
    """
    waiting = deque(chunks)
    while waiting:
        running: dict[Future, Chunk] = {}
        try:
            with worker_processes(workers, begin_process, (root, reader)) as executor:
                while waiting or running:
                    while waiting and len(running) < (1 if careful else 2 * workers):
                        future = executor.submit(measure_here, waiting[0])
                        running[future] = waiting.popleft()
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        yield future.result()
                        del running[future]
        except BrokenProcessPool:
            if careful:
                yield from ((kind, [files[0].row(error=DEADLY)]) for kind, files in running.values())
            else:
                log.warning("a process died: what it was reading is read again, file by file")
                files = [(kind, [file]) for kind, files in running.values() for file in files]
                yield from in_processes(files, 1, root, reader, careful=True)


def on_processes(workers: int, function: "Callable[[Row], Row]", rows: "list[Row]") -> "Generator[Row, None, None]":
    """Yield function(row) for every row, in order, and show the progress. On `workers` processes if there are many."""
    processes = min(workers, 1 + len(rows) // WORTH_A_PROCESS)
    shown = partial(tqdm, desc="normalized faces", total=len(rows), unit="face", delay=2)
    if processes < 2:
        yield from map(function, shown(rows))
        return
    with worker_processes(processes) as executor:
        yield from shown(executor.map(function, rows, chunksize=8))


def begin_process(root: Path, reader: "Reader") -> None:
    """Initialise a worker process."""
    single_thread()
    begin(root, reader)


def begin(root: Path, reader: "Reader") -> None:
    """Build the reader of photos once for this process."""
    global here
    here = root, reader()


def measure_here(chunk: Chunk) -> "tuple[str, list[Row]]":
    """Measure a chunk in this process. Returns its kind and rows."""
    from speech2face.preparation.measure import measure

    kind, files = chunk
    return kind, measure(kind, here[0], files, here[1])
