"""`pipeline=speech` and `pipeline=face`: reconstruct a face for every input."""

import logging
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from speech2face.config.options import Reconstruct
from speech2face.errors import UserError
from speech2face.inference.estimates import Estimate
from speech2face.inference.threads import after_the_networks, ahead
from speech2face.pipelines.jobs import prepare, reconstructed, row_of, write_outputs
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
from speech2face.run.process import quick_imports, raise_lost_interrupt
from speech2face.run.record import Run
from speech2face.run.results import EMBEDDINGS, Results, write_contact_sheet, write_embedding_table

if TYPE_CHECKING:
    from speech2face.inference.reconstructor import Reconstructor
    from speech2face.weights.load import Loaded

log = logging.getLogger(__name__)


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
    measurements = (*reconstructor.encoder.preprocessing.measurements, *(one.name for one in fields(Estimate)))
    prior = reconstructor.decoder.prior
    heard = [f"heard_{name}" for name, _ in prior.spread] if prior and reconstructor.decoder.samples else []
    (run.directory / EMBEDDINGS).unlink(missing_ok=True)  # of the run that is resumed
    results = Results(run.directory, (*measurements, *heard), kept)
    with closing(results), bar, logging_redirect_tqdm():
        for job in written:
            raise_lost_interrupt()
            status = "passed_over" if job.input.skipped else "failed" if job.error else "done"
            counts[status] += 1
            results.add(row_of(job, status))
            if status == "failed":
                log.error("failed: %s", job.error)
            for warning in job.prepared.warnings if status == "done" else ():
                log.warning("%s: %s", job.input.path, warning)
            bar.update()
    run.record["counts"] = counts
    with run.stage("write"):
        write_embedding_table(run.directory)
        if len(inputs) > 1 or len(kept) > 1:
            write_contact_sheet(run.directory, counts["done"])
    shown = [f"{count} {status.replace('_', ' ')}" for status, count in counts.items() if count or status == "done"]
    log.info("%s: %s", ", ".join(shown), run.directory)
    return int(counts["failed"] > 0 or counts["done"] == 0)
