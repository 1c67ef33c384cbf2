"""`pipeline=speech` and `pipeline=face`: reconstruct a face for every input."""

import logging
import shutil
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import fields
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from speech2face.config.options import Reconstruct
from speech2face.errors import UserError, counted
from speech2face.inference.estimates import Estimate
from speech2face.inference.threads import after_the_networks, ahead, map_batches
from speech2face.pipelines.jobs import batches, prepare, reconstruct_batch, row_of, write_outputs
from speech2face.pipelines.parts import (
    apart,
    build_encoder,
    build_prior,
    check_modality,
    load_parts,
    locate_parts,
    settled,
    untrained,
    with_outputs,
    without_unused,
)
from speech2face.pipelines.resume import rows_to_keep
from speech2face.pipelines.shards import check_shard, inputs_of_shard, record_part
from speech2face.run.console import job_label
from speech2face.run.inputs import Input, find_inputs
from speech2face.run.process import quick_imports, raise_lost_interrupt
from speech2face.run.record import Run
from speech2face.run.results import Results, rows_done, sort_results, write_contact_sheet
from speech2face.run.table import EMBEDDINGS, STORE, open_store, write_table

if TYPE_CHECKING:
    from speech2face.inference.reconstructor import Reconstructor
    from speech2face.weights.load import Loaded

log = logging.getLogger(__name__)


def reconstruct(options: Reconstruct, run: Run) -> int:
    """Reconstruct the faces of all inputs that `audio` or `image` names. Returns 0, or 1 if any input failed."""
    options = with_outputs(without_unused(options))
    option, given = options.sources
    modality = options.pipeline.name
    if given in (None, "", []):
        raise UserError(f"pipeline={modality} needs {option}= a file, a directory or a glob")
    check_modality(options.encoder, modality, f"pipeline={modality}")
    sources = given if isinstance(given, list) else [given]
    check_shard(options)
    inputs, part = inputs_of_shard(find_inputs(sources, modality, option), options)
    located = locate_parts(options, but=["decoder"] if options.write == ["embeddings"] else [])
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
            record_part(run, part, effective)
            kept = rows_to_keep(effective, run, inputs, executor)
            run.record["weights"] = weights
            run.begin()
            run.save_options(effective)
            run.save(device=str(reconstructor.encoder.device), precision=precision, seed=options.seed)
            log.info("%s", "; ".join(f"{slot} {_named(one)}" for slot, one in weights.items()))
            log.debug("front end: %s", effective.encoder.preprocessing)
            if len(inputs) > 1:
                others = sum(one.skipped is not None for one in inputs)
                beside = f" and {counted(others, 'other file')}" if others else ""
                log.info("found %s%s", counted(len(inputs) - others, "input"), beside)
            return process(run, inputs, kept, reconstructor, executor, options)
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def build(options: Reconstruct, loaded: "dict[str, Loaded]", run: Run | None = None) -> "Reconstructor":
    """Build encoder and decoder from loaded parts, with weights in the precision. Warns of random weights.

    Without a loaded decoder, only embeddings are computed.

    run: records the time of the stages.
    """
    from speech2face.inference.decoder import Decoder
    from speech2face.inference.reconstructor import Reconstructor

    drawing = "decoder" in loaded
    if warning := untrained(loaded) or (drawing and apart(loaded["encoder"], loaded["decoder"])):
        log.warning(warning)
    encoder, decoder = build_encoder(loaded["encoder"], options), None
    if drawing:
        network, prior = loaded["decoder"].network, build_prior(loaded, options)
        decoder = Decoder(network, options.device, encoder.precision, options.samples, options.seed, prior)
        decoder.lower()
    encoder.lower()
    return Reconstructor(encoder, decoder, *([run.stage] if run else []))


def process(
    run: Run,
    inputs: list[Input],
    kept: list[dict[str, str]],
    reconstructor: "Reconstructor",
    executor: Executor,
    options: Reconstruct,
) -> int:
    """Reconstruct the inputs, while other threads prepare the next ones and write results, in order.

    kept: rows of an earlier run, which are not done again. Returns 0, or 1 if any input failed.
    """
    write, workers = options.write, options.workers
    counts = {"done": len(kept), "kept": len(kept), "failed": 0, "passed_over": 0}
    names = {row["output"] for row in kept}
    todo = [one for one in inputs if one.name not in names]
    prepared = ahead(executor, lambda one: prepare(one, reconstructor, run, executor), todo, workers + 1)
    alone = len(inputs) == 1 and options.shard is None  # it gets all threads of torch
    bar = tqdm(
        total=len(todo) + len(kept),
        initial=len(kept),
        desc=f"{job_label()}faces",
        unit="input",
        disable=len(inputs) < 2,
    )
    measurements = (*reconstructor.encoder.preprocessing.measurements, *(one.name for one in fields(Estimate)))
    prior = reconstructor.decoder and reconstructor.decoder.prior
    heard = [f"heard_{name}" for name, _ in prior.spread] if prior and options.samples else []
    if not kept:  # the run that is resumed may have had other options
        shutil.rmtree(run.directory / STORE, ignore_errors=True)
    (run.directory / EMBEDDINGS).unlink(missing_ok=True)  # of the run that is resumed
    store = open_store(run.directory) if "embeddings" in write else None
    results = Results(run.directory, (*measurements, *heard), kept)
    threads = nullcontext(map) if alone else map_batches(reconstructor.encoder)
    with closing(results), bar, logging_redirect_tqdm(), threads as each:
        ready = batches(prepared, reconstructor.encoder.batch_size)
        done = chain.from_iterable(each(partial(reconstruct_batch, reconstructor), ready))
        for job in ahead(executor, lambda job: write_outputs(run, job, write), done, workers):
            raise_lost_interrupt()
            status = "passed_over" if job.input.skipped else "failed" if job.error else "done"
            counts[status] += 1
            if len(inputs) == 1 and (told := job.estimate):
                log.info("%s: %s", job.input.path, told)
            row = row_of(job, status)
            if status == "done" and store and row["sha256"] not in store.rows:
                store.add([row["sha256"]], job.embedding[None])
            results.add(row)
            if status == "failed":
                log.error("failed: %s", job.error)
            for warning in job.prepared.warnings if status == "done" else ():
                log.warning("%s: %s", job.input.path, warning)
            bar.update()
    run.record["counts"] = counts
    if kept:
        sort_results(run.directory, results.columns, inputs)
    with run.stage("write"):
        if store:
            write_table(run.directory, store)
        if "faces" in write and (len(inputs) > 1 or len(kept) > 1):
            write_contact_sheet(run.directory, counts["done"])
    log.info("%s: %s", _counted(counts), _picture(run.directory, counts["done"]))
    return int(counts["failed"] > 0 or (counts["done"] == 0 and options.shard is None))


def _named(weights: dict[str, Any]) -> str:
    """The part and its weights in a few words, from the record of the weights."""
    source, layout = weights["weights"], weights["layout"]
    source = source.rpartition("/")[2] if source.startswith("package:") else source
    return f"{weights['choice']}: {source}" + ("" if layout == "ours" else f" ({layout})")


def _counted(counts: dict[str, int]) -> str:
    """Such as "3 done (2 of them before), 1 failed"."""
    before = f" ({counts['kept']} of them before)" if counts["kept"] else ""
    others = [f", {counts[name]} {name.replace('_', ' ')}" for name in ("failed", "passed_over") if counts[name]]
    return f"{counts['done']} done{before}{''.join(others)}"


def _picture(directory: Path, done: int) -> Path:
    """The picture to look at first: the only panel or face, or the contact sheet; the directory if there is none."""
    sheet = directory / "contact_sheet.png"
    folder = directory / next((row["output"] for row in rows_done(directory)), "")
    only = [file for file in (folder / "panel.png", folder / "face.png") if done == 1 and file.exists()]
    return sheet if sheet.exists() else only[0] if only else directory
