"""`pipeline=speech` and `pipeline=face`: every input to its face, a row and a folder each."""

import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from speech2face.compose import PARTS, build_reconstructor, check, config_dict, describe_weights, locate_parts, settle
from speech2face.errors import UserError
from speech2face.files import FILES, sha256
from speech2face.inputs import Input, find_inputs
from speech2face.results import Results, read_results, write_contact_sheet, write_files
from speech2face.runs import Run, quick_imports

log = logging.getLogger(__name__)


@dataclass
class Job:
    """An input on its way: its hash, its features and its face, or why there are none."""

    input: Input
    digest: Future | None = None
    prepared: Any = None
    result: Any = None
    error: str | None = None
    seconds: float = 0.0


def reconstruct(config: DictConfig, run: Run, name: str, modality: str, option: str) -> int:
    """Reconstruct a face for every input that `option` (audio or image) names. Returns 0, or 1 if any input failed."""
    if config[option] in (None, "", []):
        raise UserError(f"pipeline={name} needs {option}= a file, a directory or a glob")
    check(config)
    sources = list(config[option]) if OmegaConf.is_list(config[option]) else [config[option]]
    inputs = find_inputs(sources, modality, option)
    located = locate_parts(config)
    with ThreadPoolExecutor(config.workers + 1, "prepare", after_the_networks) as executor:
        try:
            # The weights are hashed, and so brought into memory, while torch is imported.
            digests = {part: executor.submit(sha256, one.file) for part, one in located.items() if one.file}
            with quick_imports():
                import torch  # noqa: F401
            run.stages["import"] = time.perf_counter() - run.started
            with run.stage("load"):
                reconstructor, parts = build_reconstructor(config, located, run.overrides, run.stage)
                weights = {
                    part: describe_weights(
                        config.choices[part],
                        located[part],
                        parts[part],
                        digests[part].result() if part in digests else None,
                    )
                    for part in PARTS
                }
            config[option] = [str(Path(str(source)).expanduser().absolute()) for source in sources]
            settle(config, located)
            config.precision = reconstructor.precision
            kept = rows_to_keep(config, run, inputs, weights, executor)
            run.record["weights"] = weights
            run.begin()
            run.save_config(config)
            run.save(device=str(reconstructor.device), precision=config.precision, seed=config.seed)
            for part, one in weights.items():
                log.info("%s %s: %s (%s)", part, config.choices[part], one["weights"], one["layout"])
            log.info("front end: %s", config_dict(config.preprocessing))
            return process(run, inputs, kept, reconstructor, executor, config.workers)
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def after_the_networks() -> None:
    """Let this thread run when the networks leave a core: theirs wait for each other, and one held up holds up all."""
    if sys.platform == "linux":  # elsewhere a thread has no priority of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def rows_to_keep(
    config: DictConfig, run: Run, inputs: list[Input], weights: dict[str, Any], executor: Executor
) -> list[dict[str, str]]:
    """Rows of the earlier run in this directory that are done: of the same file still, or of none of the inputs now.

    Raises UserError where that run was configured otherwise.
    """
    before = run.directory / ".hydra" / "effective.yaml"
    rows = [row for row in read_results(run.directory) if row["status"] == "done"]
    if not run.earlier or "weights" not in run.earlier or not before.exists() or not rows:
        return []  # it is not known what was done there: start over
    earlier = OmegaConf.load(before)
    for key in ("pipeline", *PARTS, "preprocessing", "precision", "seed"):
        if earlier.get(key) != config[key]:
            raise UserError(
                f"resume={run.directory}: that run has another {key}; resume it with the same, or start anew"
            )
    for part in PARTS:
        if run.earlier["weights"][part]["sha256"] != weights[part]["sha256"]:
            raise UserError(f"resume={run.directory}: the file of {part}.weights has changed since; start anew")
    wanted = {os.path.realpath(one.path): one for one in inputs}
    names = {one.name for one in inputs}

    def keep(row: dict[str, str]) -> bool:
        if not all((run.directory / row["output"] / name).exists() for name in FILES):
            return False
        one = wanted.get(os.path.realpath(row["input"]))
        if one is None:
            return row["output"] not in names
        return one.name == row["output"] and sha256(one.path) == row["sha256"]

    keeping = tqdm(executor.map(keep, rows), "checking what is done", len(rows))
    return [row for row, kept in zip(rows, keeping, strict=True) if kept]


def process(
    run: Run, inputs: list[Input], kept: list[dict[str, str]], reconstructor: Any, executor: Executor, workers: int
) -> int:
    """Prepare and write on threads, reconstruct on this one, report in order. Returns 0, or 1 if any input failed."""
    counts = {"done": len(kept), "kept": len(kept), "failed": 0, "passed_over": 0}
    names = {row["output"] for row in kept}
    todo = [one for one in inputs if one.name not in names]
    prepared = ahead(executor, lambda one: prepare(one, reconstructor, run, executor), todo, workers + 1)
    written = ahead(executor, lambda job: write_outputs(run, job), reconstructed(prepared, reconstructor), workers)
    bar = tqdm(total=len(todo) + len(kept), initial=len(kept), desc="faces", unit="input", disable=len(inputs) < 2)
    results = Results(run.directory, reconstructor.preprocessing.measurements, kept)
    with closing(results), bar, logging_redirect_tqdm():
        for job in written:
            status = "passed_over" if job.input.skipped else "failed" if job.error else "done"
            counts[status] += 1
            results.add(row_of(job, status))
            if status == "failed":
                log.error("failed: %s", job.error)
            for warning in job.prepared.warnings if status == "done" else ():
                log.warning("%s: %s", job.input.path, warning)
            bar.update()
    run.record["counts"] = counts
    if len(inputs) > 1 or len(kept) > 1:
        with run.stage("write"):
            write_contact_sheet(run.directory, counts["done"])
    told = [f"{count} {status.replace('_', ' ')}" for status, count in counts.items() if count or status == "done"]
    log.info("%s: %s", ", ".join(told), run.directory)
    return int(counts["failed"] > 0 or counts["done"] == 0)


def row_of(job: Job, status: str) -> dict[str, Any]:
    """The job's row of results.csv."""
    row = {
        "input": str(job.input.path),
        "sha256": _digest(job),
        "status": status,
        "error": job.error.removeprefix(f"{job.input.path}: ") if job.error else None,
        "seconds": round(job.seconds, 3),
    }
    if status != "done":
        return row
    warnings = "; ".join(job.prepared.warnings)
    return row | {"output": job.input.name, "warnings": warnings} | job.prepared.measurements


def ahead(executor: Executor, function: Callable[[Any], Any], items: Iterable[Any], depth: int) -> Iterator[Any]:
    """function(item) for every item, in order, computed on the executor at most `depth` items ahead."""
    pending: deque[Future] = deque()
    for item in items:
        pending.append(executor.submit(function, item))
        while pending and (len(pending) > depth or pending[0].done()):
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def prepare(one: Input, reconstructor: Any, run: Run, executor: Executor) -> Job:
    """Read one input. What is wrong with it becomes the job's error, never an exception."""
    if one.skipped:
        return Job(one, error=one.skipped)
    job = Job(one, executor.submit(sha256, one.path))
    with run.stage("preprocess"), timed(job):
        try:
            job.prepared = reconstructor.preprocessing(one.path)
        except UserError as error:
            job.error = str(error)
        except Exception as error:  # one file must not stop the others, whatever a decoder makes of it
            job.error = f"{one.path}: could not be prepared ({type(error).__name__}: {error})"
    return job


def reconstructed(jobs: Iterable[Job], reconstructor: Any) -> Iterator[Job]:
    """The jobs in their order, with their result or error, as many at once as fill a batch of windows."""
    batch: list[Job] = []
    windows = 0
    for job in jobs:
        batch.append(job)
        windows += 0 if job.error else len(job.prepared.features)
        if windows >= reconstructor.batch_size or not windows:  # full, or nothing in it to wait for
            yield from reconstruct_batch(reconstructor, batch)
            batch, windows = [], 0
    yield from reconstruct_batch(reconstructor, batch)


def reconstruct_batch(reconstructor: Any, jobs: list[Job]) -> list[Job]:
    """Give each job that was prepared its result, or the line that says why it has none: one by one if need be."""
    good = [job for job in jobs if not job.error]
    if not good:
        return jobs
    with timed(*good):
        try:
            for job, result in zip(good, reconstructor.reconstruct([job.prepared for job in good]), strict=True):
                job.result = result
        except Exception as error:  # what an encoder makes of one input must not stop the others
            if len(good) == 1:
                good[0].error = f"{good[0].input.path}: {type(error).__name__}: {' '.join(str(error).split())}"
    if not all(job.result or job.error for job in good):
        for job in good:
            reconstruct_batch(reconstructor, [job])
    return jobs


@contextmanager
def timed(*jobs: Job) -> Iterator[None]:
    """Add the time that the block takes to the jobs, shared among them."""
    began = time.perf_counter()
    yield
    for job in jobs:
        job.seconds += (time.perf_counter() - began) / len(jobs)


def _digest(job: Job) -> str | None:
    try:
        return job.digest.result() if job.digest else None
    except OSError:
        return None


def write_outputs(run: Run, job: Job) -> Job:
    """Write the files of one input that has a face."""
    if not job.error:
        try:
            with run.stage("write"), timed(job):
                folder = run.directory / job.input.name
                write_files(folder, job.input.name, _digest(job), job.result, run.record["weights"])
        except ValueError as error:
            job.error = f"{job.input.path}: could not be written ({error})"
    job.result = None
    return job
