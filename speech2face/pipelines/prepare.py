"""`pipeline=prepare`: measure recordings and photos, and write the manifest that training and evaluation read."""

import dataclasses
import json
import logging
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
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
from speech2face.run.process import quick_imports, raise_lost_interrupt, single_thread
from speech2face.run.record import Run

if TYPE_CHECKING:
    from speech2face.preparation.manifest import Part, Row
    from speech2face.preparation.measure import PhotoReader
    from speech2face.preparation.normalized import Each

    Reader = Callable[[], PhotoReader]

log = logging.getLogger(__name__)
TOGETHER = 64  # files of a person that a process reads at a time
MEASURED = "4"  # version of the measurements: raise it when the code changes the rows
DEADLY = "the process that reads it dies: damaged beyond reading, or too large for the memory"
Chunk = tuple[str, list[File]]  # kind, and files of one person
SHOWN = 5  # folders and links that cannot be followed, in the log; the report has all
KEPT_ROWS = 64  # rows per write, and so the most that a killed run loses


def prepare(options: Prepare, run: Run) -> int:
    """Measure the files that have not been measured yet. Without `shard`, then write manifest and report. Returns 0."""
    if run.earlier is not None:
        raise UserError("pipeline=prepare needs no resume: the same command goes on from what is done")
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

        with run.stage("write"), on_processes(workers) as each:
            finish(root, files, traits, notes, options.seed, each)
    return 0


def measure_all(
    root: Path, todo: dict[str, list[File]], parts: "dict[str, Part]", reader: "Reader", workers: int
) -> None:
    """Measure files and append their rows to part files.

    todo, parts: files and part file by kind. reader: builds the reader of photos in each process.
    workers: number of processes, of one thread each; 0: measure in this process.
    """
    import torch

    chunks = [
        (kind, members[start : start + TOGETHER])
        for kind, files in todo.items()
        for members in (list(group) for _, group in groupby(files, key=lambda file: file.person))
        for start in range(0, len(members), TOGETHER)
    ]
    if workers:
        found = in_processes(chunks, workers, root, reader)
    else:
        torch.set_num_threads(1)  # as in workers, because the last digits of an embedding depend on it
        begin(root, reader)
        found = map(measure_here, chunks)
    rows: dict[str, list[Row]] = {kind: [] for kind in todo}
    try:
        with tqdm(total=sum(map(len, todo.values())), unit="file") as bar:
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
) -> "Iterator[tuple[str, list[Row]]]":
    """Measure chunks on `workers` processes. Yields the results of `measure_here`, in any order.

    If a process dies, the files that it may have been reading are read again one at a time (careful). A file that then
    ends a process gets a row with the error DEADLY.
    """
    waiting = deque(chunks)
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    while waiting:
        executor = ProcessPoolExecutor(workers, context, initializer=begin_process, initargs=(root, reader))
        running: dict[Future, Chunk] = {}
        try:
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
        finally:
            executor.shutdown(cancel_futures=True)


@contextmanager
def on_processes(workers: int) -> "Iterator[Each]":
    """A map() that shows its progress, on so many processes of one thread each; on this one if it is one."""
    if workers == 1:
        yield lambda function, rows: map(function, tqdm(rows, "normalized faces", unit="face", delay=2))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=single_thread) as executor:
        yield lambda function, rows: tqdm(
            executor.map(function, rows, chunksize=8), "normalized faces", len(rows), unit="face", delay=2
        )


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
