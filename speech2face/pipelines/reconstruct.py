"""`pipeline=speech` and `pipeline=face`: reconstruct a face for every input."""

import logging
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from speech2face.config.options import Reconstruct
from speech2face.errors import UserError, defect
from speech2face.files import sha256
from speech2face.inference.threads import after_the_networks, ahead
from speech2face.pipelines.parts import (
    apart,
    build_encoder,
    build_prior,
    check_modality,
    load_parts,
    locate_parts,
    settled,
    untrained,
    without_unused,
)
from speech2face.pipelines.resume import rows_to_keep
from speech2face.run.inputs import Input, find_inputs
from speech2face.run.process import quick_imports
from speech2face.run.record import Run
from speech2face.run.results import Results, write_contact_sheet, write_files

if TYPE_CHECKING:
    from speech2face.inference.reconstructor import Reconstruction, Reconstructor
    from speech2face.preprocessing import Prepared
    from speech2face.weights.load import Loaded

log = logging.getLogger(__name__)


@dataclass
class Job:
    """An input and its results so far.

    digest: SHA-256 of the file. prepared: its features. result: its faces, until they are written.
    error: why it has none. seconds: processing time. heard: what the voice fixes of the face.
    """

    input: Input
    digest: Future[str] | None = None
    prepared: "Prepared | None" = None
    result: "Reconstruction | None" = None
    error: str | None = None
    seconds: float = 0.0
    heard: dict[str, float] = field(default_factory=dict)


def reconstruct(options: Reconstruct, run: Run) -> int:
    """Reconstruct the faces of all inputs that `audio` or `image` names. Returns 0, or 1 if any input failed."""
    options = without_unused(options)
    option, given = options.sources
    modality = options.pipeline.name
    if given in (None, "", []):
        raise UserError(f"pipeline={modality} needs {option}= a file, a directory or a glob")
    check_modality(options.encoder, modality, f"pipeline={modality}")
    sources = given if isinstance(given, list) else [given]
    inputs = find_inputs(sources, modality, option)
    located = locate_parts(options)
    with ThreadPoolExecutor(options.workers + 1, "prepare", after_the_networks) as executor:
        try:
            # Hash the weights while torch is imported. That also brings the files into memory.
            hashed = [executor.submit(getattr, one, "digest") for one in located.values()]
            with quick_imports():
                import torch  # noqa: F401
            run.imported()
            with run.stage("load"):
                for one in hashed:
                    one.result()
                loaded = load_parts(options, located)
                reconstructor = build(options, loaded, run)
            weights = {slot: one.record() for slot, one in loaded.items()}
            precision = reconstructor.encoder.precision
            absolute = [str(Path(str(source)).expanduser().absolute()) for source in sources]
            effective = settled(options, loaded, precision=precision, **{option: absolute})
            kept = rows_to_keep(effective, run, inputs, executor)
            run.record["weights"] = weights
            run.begin()
            run.save_options(effective)
            run.save(device=str(reconstructor.encoder.device), precision=precision, seed=options.seed)
            for slot, one in weights.items():
                log.info("%s %s: %s (%s)", slot, one["choice"], one["weights"], one["layout"])
            log.info("front end: %s", effective.encoder.preprocessing)
            return process(run, inputs, kept, reconstructor, executor, options.workers)
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def build(options: Reconstruct, loaded: "dict[str, Loaded]", run: Run | None = None) -> "Reconstructor":
    """Build encoder and decoder from loaded parts, with weights in the precision. Warns of random weights.

    run: records the time of the stages.
    """
    from speech2face.inference.decoder import Decoder
    from speech2face.inference.reconstructor import Reconstructor

    if warning := untrained(loaded) or apart(loaded["encoder"], loaded["decoder"]):
        log.warning(warning)
    encoder = build_encoder(loaded["encoder"], options)
    network, prior = loaded["decoder"].network, build_prior(loaded, options)
    decoder = Decoder(network, options.device, encoder.precision, options.samples, options.seed, prior)
    encoder.lower()
    decoder.lower()
    return Reconstructor(encoder, decoder, *([run.stage] if run else []))


def process(
    run: Run,
    inputs: list[Input],
    kept: list[dict[str, str]],
    reconstructor: "Reconstructor",
    executor: Executor,
    workers: int,
) -> int:
    """Reconstruct the inputs on this thread; prepare them and write the results on other threads, in order.

    kept: rows of an earlier run, which are not done again. Returns 0, or 1 if any input failed.
    """
    counts = {"done": len(kept), "kept": len(kept), "failed": 0, "passed_over": 0}
    names = {row["output"] for row in kept}
    todo = [one for one in inputs if one.name not in names]
    prepared = ahead(executor, lambda one: prepare(one, reconstructor, run, executor), todo, workers + 1)
    written = ahead(executor, lambda job: write_outputs(run, job), reconstructed(prepared, reconstructor), workers)
    bar = tqdm(total=len(todo) + len(kept), initial=len(kept), desc="faces", unit="input", disable=len(inputs) < 2)
    prior = reconstructor.decoder.prior
    heard = [f"heard_{name}" for name, _ in prior.spread] if prior and reconstructor.decoder.samples else []
    results = Results(run.directory, (*reconstructor.encoder.preprocessing.measurements, *heard), kept)
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
    shown = [f"{count} {status.replace('_', ' ')}" for status, count in counts.items() if count or status == "done"]
    log.info("%s: %s", ", ".join(shown), run.directory)
    return int(counts["failed"] > 0 or counts["done"] == 0)


def row_of(job: Job, status: str) -> dict[str, object]:
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
    return row | {"output": job.input.name, "warnings": warnings} | job.prepared.measurements | job.heard


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


def reconstructed(jobs: Iterable[Job], reconstructor: "Reconstructor") -> Iterator[Job]:
    """Yield the jobs in order, with result or error. As many are reconstructed at once as fill a batch of windows."""
    batch: list[Job] = []
    windows = 0
    for job in jobs:
        batch.append(job)
        windows += 0 if job.error else len(job.prepared.features)
        if windows >= reconstructor.encoder.batch_size or not windows:  # full, or only failed jobs
            yield from reconstruct_batch(reconstructor, batch)
            batch, windows = [], 0
    yield from reconstruct_batch(reconstructor, batch)


def reconstruct_batch(reconstructor: "Reconstructor", jobs: list[Job]) -> list[Job]:
    """Set the result or the error of each prepared job. If the batch fails, the jobs are reconstructed one by one."""
    good = [job for job in jobs if not job.error]
    if not good:
        return jobs
    with timed(*good):
        try:
            for job, result in zip(good, reconstructor.reconstruct([job.prepared for job in good]), strict=True):
                job.result = result
                job.heard = {f"heard_{name}": round(share, 3) for name, share in result.faces.heard.items()}
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


def _digest(job: Job) -> str | None:
    try:
        return job.digest.result() if job.digest else None
    except OSError:
        return None


def write_outputs(run: Run, job: Job) -> Job:
    """Write the files of one input, unless it has failed."""
    if not job.error:
        try:
            with run.stage("write"), timed(job):
                folder = run.directory / job.input.name
                write_files(folder, job.input.name, _digest(job), job.result, run.record["weights"])
        except ValueError as error:
            job.error = f"{job.input.path}: could not be written ({error})"
    job.result = None
    return job
