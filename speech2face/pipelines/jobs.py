"""The inputs of a run, one by one: prepare, reconstruct in batches, write. A failure stops no other input."""

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from speech2face.errors import UserError, defect
from speech2face.files import sha256
from speech2face.run.inputs import Input
from speech2face.run.record import Run
from speech2face.run.results import write_files

if TYPE_CHECKING:
    import numpy as np

    from speech2face.inference.reconstructor import Reconstruction, Reconstructor
    from speech2face.preprocessing import Prepared


@dataclass
class Job:
    """An input and its results so far.

    digest: SHA-256 of the file. prepared: its features. result: its faces, until they are written. embedding: (4096,)
    float32. told: the columns of results.csv that come from it. estimate: sex and age in words. error: why it has no
    embedding or faces. seconds: processing time.
    """

    input: Input
    digest: Future[str] | None = None
    prepared: "Prepared | None" = None
    result: "Reconstruction | None" = None
    embedding: "np.ndarray | None" = None
    told: dict[str, object] = field(default_factory=dict)
    estimate: str = ""
    error: str | None = None
    seconds: float = 0.0


def row_of(job: Job, status: str) -> dict[str, object]:
    """The job's row of results.csv."""
    row = {
        "input": str(job.input.path),
        "sha256": digest(job),
        "status": status,
        "error": job.error.removeprefix(f"{job.input.path}: ") if job.error else None,
        "seconds": round(job.seconds, 3),
    }
    if status != "done":
        return row
    warnings = "; ".join(job.prepared.warnings)
    return row | {"output": job.input.name, "warnings": warnings} | job.prepared.measurements | job.told


def prepare(one: Input, reconstructor: "Reconstructor", run: Run, executor: Executor) -> Job:
    """Read one input. If that fails, the job has an error; nothing is raised."""
    if one.skipped:
        return Job(one, error=one.skipped)
    job = Job(one, executor.submit(sha256, one.path))
    with run.stage("preprocess"), timed(job):
        try:
            job.prepared = reconstructor.encoder.prepare(one.path)
        except UserError as error:
            job.error = str(error)
        except Exception as error:  # codecs raise anything, and one file must not stop the others
            job.error = f"{one.path}: could not be prepared ({defect(error)})"
    return job


def batches(jobs: Iterable[Job], size: int) -> Iterator[list[Job]]:
    """Lists of consecutive jobs, each with as many as fill a batch of `size` windows."""
    batch: list[Job] = []
    windows = 0
    for job in jobs:
        batch.append(job)
        windows += 0 if job.error else len(job.prepared.features)
        if windows >= size or not windows:  # full, or only failed jobs
            yield batch
            batch, windows = [], 0
    yield batch


def reconstruct_batch(reconstructor: "Reconstructor", jobs: list[Job]) -> list[Job]:
    """Set the result or the error of each prepared job. If the batch fails, the jobs are reconstructed one by one."""
    good = [job for job in jobs if not job.error]
    if not good:
        return jobs
    with timed(*good):
        try:
            for job, result in zip(good, reconstructor.reconstruct([job.prepared for job in good]), strict=True):
                job.result, job.embedding = result, result.embedding
                shares = result.faces.heard if result.faces else {}
                heard = {f"heard_{name}": round(share, 3) for name, share in shares.items()}
                job.told, job.estimate = result.estimate.row() | heard, str(result.estimate)
        except Exception as error:  # networks raise anything, and one input must not stop the others
            if len(good) == 1:
                good[0].error = f"{good[0].input.path}: {defect(error)}"
    if not all(job.result or job.error for job in good):
        for job in good:
            reconstruct_batch(reconstructor, [job])
    return jobs


@contextmanager
def timed(*jobs: Job) -> Iterator[None]:
    """Add the wall time of the block to the jobs, an equal share to each."""
    began = time.perf_counter()
    yield
    for job in jobs:
        job.seconds += (time.perf_counter() - began) / len(jobs)


def digest(job: Job) -> str | None:
    """SHA-256 of the input in hexadecimal; None if it cannot be read."""
    try:
        return job.digest.result() if job.digest else None
    except OSError:
        return None


def write_outputs(run: Run, job: Job, write: Sequence[str]) -> Job:
    """Write the files of one input, unless it has failed. write: see write_files."""
    if not job.error and digest(job) is None:
        job.error = f"{job.input.path}: it vanished while it was read"
    if not job.error:
        try:
            with run.stage("write"), timed(job):
                folder = run.directory / job.input.name
                write_files(folder, job.input.name, digest(job), job.result, run.record["weights"], write)
        except ValueError as error:
            job.error = f"{job.input.path}: could not be written ({error})"
    job.result = None
    return job
