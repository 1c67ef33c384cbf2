"""`pipeline=evaluate`: compare an encoder's embeddings with those of the true faces, on a dataset of our layout."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from speech2face.config.options import Evaluate
from speech2face.data.dataset import Dataset, read_dataset
from speech2face.errors import UserError
from speech2face.pipelines.choice import Chosen, Files, choose
from speech2face.pipelines.conclude import conclude, published
from speech2face.pipelines.judges import build_judges, log_judges, part_in_training, with_paths
from speech2face.pipelines.parts import (
    build_encoder,
    build_prior,
    check_modality,
    load_parts,
    locate_parts,
    settled,
    untrained,
)
from speech2face.pipelines.seen import warning as seen
from speech2face.pipelines.shards import check_shard, people_of_shard
from speech2face.pipelines.trials import evaluate_trials, find_trials, score_trials
from speech2face.run.process import quick_imports
from speech2face.run.record import Run
from speech2face.run.results import write_failures
from speech2face.run.tracking import tracked

if TYPE_CHECKING:
    from speech2face.evaluation.evaluation import Material
    from speech2face.inference.cache import Embedded

log = logging.getLogger(__name__)
TRAIN_PHOTOS = 3  # of each person
AVERAGED = 20  # most photos of a person that are averaged


def evaluate(options: Evaluate, run: Run) -> int:
    """Evaluate options.encoder on data.root, or on a list of trials, and tell the trackers of it. See `measure`."""
    with tracked(options.logger, run):
        return measure(options, run)


def measure(options: Evaluate, run: Run) -> int:
    """Evaluate options.encoder on data.root and write metrics, tables, plots and a gallery.

    Returns 1 if a file could not be read, else 0.
    """
    check_modality(options.face, "face", "pipeline=evaluate")
    check_shard(options)
    if options.data.root is None and options.shard is not None:
        raise UserError("shard= divides the people of data.root=, which is not given")
    if options.data.root is None and options.trials:
        return evaluate_trials(options, run)
    if options.data.root is None:
        raise UserError("pipeline=evaluate needs data.root= a dataset: <person>/audios, <person>/images, people.csv")
    run.way_on = "the same command, which encodes nothing twice"
    located, listed = locate_parts(options), find_trials(options) if options.trials else None
    judges = build_judges(options.judge)
    with run.stage("find"):
        dataset = read_dataset(options.data.root, options.data.where)
    options, chosen = choose(dataset, options)
    chosen = people_of_shard(chosen, options, run)
    with quick_imports():
        import torch  # noqa: F401
    run.imported()
    from speech2face.evaluation.evaluation import evaluate as compute_metrics
    from speech2face.evaluation.report import write_report
    from speech2face.evaluation.summary import Asked, answers
    from speech2face.inference.cache import embed
    from speech2face.inference.decoder import Decoder

    with run.stage("load"):
        loaded = load_parts(options, located)
        encoder, face = (build_encoder(loaded[slot], options) for slot in ("encoder", "face"))
        prior = build_prior(loaded, options)
        decoder = Decoder(loaded["decoder"].network, options.device, options.precision, prior=prior)
        for one in judges.values():
            one.load()
    warnings = [one for one in (untrained(loaded), seen(dataset.root, chosen.people, loaded)) if one]
    for warning in warnings:
        log.warning(warning)
    parts_of_judges = {name: part_in_training(one, loaded) for name, one in judges.items()}
    run.record["judges"] = {n: {"sha256": judges[n].digest, "part": part} for n, part in parts_of_judges.items()}
    run.record["weights"] = {slot: one.record() for slot, one in loaded.items()}
    data = dataclasses.replace(options.data, root=str(options.data.path))
    judge = with_paths(options.judge, judges)
    run.save_options(settled(options, loaded, data=data, judge=judge, precision=encoder.precision))
    run.save(device=str(encoder.device), precision=encoder.precision, seed=options.seed)
    whole = options.shard is None
    with run.stage("encode"):
        cache = Path(options.cache).expanduser()
        workers = options.workers
        of_photos = partial(embed, dataset.root, encoder=face, directory=cache, workers=workers, name="photos")
        of_queries = partial(embed, dataset.root, encoder=encoder, directory=cache, workers=workers, name="queries")
        material, errors = gather(dataset, chosen, of_photos, of_queries, options.encoder.modality, options.per_person)
        scored = score_trials(listed, options, encoder, face, run.directory, errors) if listed and whole else {}
    write_failures(run.directory, dataset.root, errors)
    if not whole:
        counts = {"people": len(material.people), "queries": len(material.queries), "failed": len(errors)}
        run.save(counts=counts)
        log.info("%s encoded", ", ".join(f"{count} {what}" for what, count in counts.items()))
        return int(bool(errors))
    if len(material.people) < 2 or not material.queries:
        raise UserError(f"data.root={dataset.root}: too few files could be read; results.csv has the reasons")
    about = {"people": len(material.people), "queries": len(material.queries), "training photos": len(material.train)}
    about["failed"] = len(errors)
    run.save(counts=about)
    with run.stage("measure"):
        evaluation = compute_metrics(material, face, decoder, options, options.seed, encoder.estimates, judges)
        evaluation.judges = parts_of_judges
        evaluation.outcomes["encoder"].metrics |= scored
    simulated = (dataset.root / "talkers.json").exists()
    asked = Asked(
        run.record["weights"], dataset.root.name, options.split, options.encoder.modality, simulated, warnings,
        play=simulated or options.play, command=" ".join(["python", *run.record["command"]]),
        draws=options.draws if prior is not None else 0,
    )  # fmt: skip
    with run.stage("report"):
        metrics = write_report(run.directory, material, evaluation, about | published(options), asked, options.samples)
    log_judges(evaluation.judges, metrics)
    conclude(run, about, metrics, [*answers(asked, about, metrics), f"the report: {run.directory / 'report.html'}"])
    return int(bool(errors))


def gather(
    dataset: Dataset,
    chosen: Chosen,
    of_photos: "Callable[[list[str]], Embedded]",
    of_queries: "Callable[[list[str]], Embedded]",
    modality: str,
    per_person: bool = False,
) -> "tuple[Material, dict[str, str]]":
    """The material of the evaluation, and the reason by path for files that could not be read.

    A file that cannot be read is replaced by the next one of the person. of_photos, of_queries: embed files, given by
    their paths. modality: of the queries. per_person: compare the means of each person's queries and photos.
    """
    import numpy as np

    from speech2face.evaluation.averaging import averaged
    from speech2face.evaluation.evaluation import Material

    faces = dataset.files["face"]
    shown = AVERAGED if per_person and modality == "speech" else 1  # a photo that is a query is not in the gallery
    wanted = dict.fromkeys(chosen.people, shown) | dict.fromkeys(chosen.training, TRAIN_PHOTOS)
    photos, embedded = embed_enough({person: (faces[person], count) for person, count in wanted.items()}, of_photos)
    people = [person for person in chosen.people if photos[person]]
    gallery = [photos[person][0] for person in people]
    candidates = {}
    for person, photo in zip(people, gallery, strict=True):
        used = photo if modality == "face" and not chosen.alone else None
        files = [path for path in dataset.files[modality].get(person, []) if path != used]
        asked = chosen.queries.get(person, [])
        first = [path for path in asked if path in files]
        candidates[person] = [*first, *(path for path in files if path not in first)], len(asked)
    found, queries = embed_enough(candidates, of_queries)
    paths = {path: row for row, person in enumerate(people) for path in found[person]}
    train = [(person, path) for person in chosen.training for path in photos[person]]
    material = Material(
        dataset=dataset,
        people=people,
        photos=gallery,
        gallery=embedded.of(gallery),
        queries=list(paths),
        embeddings=queries.of(list(paths)),
        rows=np.array(list(paths.values())),
        train=[person for person, _ in train],
        train_embeddings=embedded.of([path for _, path in train]),
        digests=embedded.digests | queries.digests,
        modality=modality,
    )
    if per_person and people:
        material = averaged(material, [embedded.of(photos[person]) for person in people])
    return material, embedded.errors | queries.errors


def embed_enough(
    wanted: dict[str, tuple[Sequence[str], int]], embed: "Callable[[list[str]], Embedded]"
) -> "tuple[Files, Embedded]":
    """Embed the first files of each person that can be read.

    wanted: by person, the files, and how many are needed. Returns the files by person, in the given order, and the
    embeddings of all files that were tried. Files after the needed ones are tried only if those cannot be read.
    """
    tried = {person: count for person, (_, count) in wanted.items()}
    todo = {person: list(files[:count]) for person, (files, count) in wanted.items()}
    found: Files = {person: [] for person in wanted}
    embedded = None
    while embedded is None or any(todo.values()):
        more = embed([path for paths in todo.values() for path in paths])
        if embedded is not None:
            more.digests, more.errors = embedded.digests | more.digests, embedded.errors | more.errors
        embedded = more
        for person, paths in todo.items():
            found[person] += [path for path in paths if path in embedded.digests]
        todo = {
            person: list(wanted[person][0][tried[person] : 2 * tried[person]])
            for person, paths in found.items()
            if len(paths) < wanted[person][1]
        }
        tried |= {person: 2 * tried[person] for person in todo}
    return {person: paths[: wanted[person][1]] for person, paths in found.items()}, embedded
