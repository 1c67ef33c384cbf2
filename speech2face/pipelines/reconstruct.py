"""`pipeline=speech` and `pipeline=face`: every input to its face, a row and a folder each."""

import logging
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

from speech2face.build import PARTS, build_reconstructor, check, locate_parts, settle
from speech2face.errors import UserError
from speech2face.files import sha256
from speech2face.inputs import Input, find_inputs
from speech2face.results import Results, read_results, write_contact_sheet, write_files
from speech2face.runs import STARTED, Run, quick_imports

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
    with ThreadPoolExecutor(config.workers + 1, "prepare") as executor:
        try:
            # The weights are hashed, and so brought into memory, while torch is imported.
            digests = {part: executor.submit(sha256, one.file) for part, one in located.items() if one.file}
            with quick_imports():
                import torch  # noqa: F401
            run.stages["import"] = time.perf_counter() - STARTED
            with run.stage("load"):
                reconstructor, parts = build_reconstructor(config, located, run.overrides, run.stage)
                weights = {
                    part: {
                        "choice": config.choices[part],
                        "weights": located[part].weights,
                        "file": str(located[part].file) if located[part].file else None,
                        "sha256": digests[part].result() if part in digests else None,
                        "layout": parts[part].layout,
                        "untrained": parts[part].untrained,
                    }
                    for part in PARTS
                }
            config[option] = [str(Path(str(source)).expanduser().absolute()) for source in sources]
            settle(config, located)
            kept = rows_to_keep(config, run, inputs, weights, executor)
            run.begin()
            run.save_config(config)
            run.save(device=str(reconstructor.device), precision=config.precision, seed=config.seed, weights=weights)
            for part, one in weights.items():
                log.info("%s %s: %s (%s)", part, config.choices[part], one["weights"], one["layout"])
            log.info("front end: %s", OmegaConf.to_container(config.preprocessing, resolve=True))
            untrained = [part for part, one in weights.items() if one["untrained"]]
            if untrained:
                log.warning("UNTRAINED: random weights in the %s; the faces mean nothing", " and the ".join(untrained))
            return process(run, inputs, kept, reconstructor, executor, config.workers)
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def rows_to_keep(
    config: DictConfig, run: Run, inputs: list[Input], weights: dict[str, Any], executor: Executor
) -> dict[str, dict[str, str]]:
    """Rows of an earlier run in this directory, by input name, that are done and whose file is still the same.

    Raises UserError where that run was configured otherwise.
    """
    rows = {row["output"]: row for row in read_results(run.directory) if row["status"] == "done"}
    if run.earlier is None or not rows:
        return {}
    earlier = OmegaConf.load(run.directory / ".hydra" / "effective.yaml")
    for key in ("pipeline", *PARTS, "preprocessing", "precision", "seed"):
        if earlier.get(key) != config[key]:
            raise UserError(
                f"resume={run.directory}: that run has another {key}; resume it with the same, or start anew"
            )
    for part in PARTS:
        if run.earlier["weights"][part]["sha256"] != weights[part]["sha256"]:
            raise UserError(f"resume={run.directory}: the file of {part}.weights has changed since; start anew")
    done = [one for one in inputs if one.name in rows and (run.directory / one.name / "panel.png").exists()]
    digests = executor.map(lambda one: sha256(one.path), done)
    return {
        one.name: rows[one.name]
        for one, digest in zip(done, tqdm(digests, "checking what is done", len(done)), strict=True)
        if rows[one.name]["sha256"] == digest
    }


def process(
    run: Run, inputs: list[Input], kept: dict[str, dict[str, str]], reconstructor: Any, executor: Executor, workers: int
) -> int:
    """Prepare and write on threads, reconstruct on this one, report in order. Returns 0, or 1 if any input failed."""
    counts = {"done": len(kept), "kept": len(kept), "failed": 0, "passed_over": 0}
    todo = [one for one in inputs if one.name not in kept]
    prepared = ahead(executor, lambda one: prepare(one, reconstructor, run, executor), todo, workers + 1)
    written = ahead(executor, lambda job: write_outputs(run, job), reconstructed(prepared, reconstructor), workers)
    bar = tqdm(total=len(inputs), initial=len(kept), desc="faces", unit="input", disable=len(inputs) < 2)
    results = Results(run.directory, reconstructor.preprocessing.measurements, list(kept.values()))
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
    if len(inputs) > 1:
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
    for job in jobs:
        batch.append(job)
        if sum(len(one.prepared.features) for one in batch if not one.error) >= reconstructor.batch_size:
            yield from reconstruct_batch(reconstructor, batch)
            batch = []
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
        except (ValueError, RuntimeError) as error:
            if len(good) == 1:
                good[0].error = f"{good[0].input.path}: {' '.join(str(error).split())}"
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
