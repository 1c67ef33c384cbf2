"""`pipeline=evaluate`: compare an encoder's embeddings with those of the true faces, on a dataset of our layout."""

import dataclasses
import logging
import random
from pathlib import Path
from typing import TYPE_CHECKING

from speech2face.config.options import Evaluate
from speech2face.data.dataset import FOLDERS, Dataset, read_dataset
from speech2face.errors import UserError
from speech2face.pipelines.parts import build_encoder, check_modality, load_parts, locate_parts, settled, untrained
from speech2face.run.process import quick_imports
from speech2face.run.record import Run
from speech2face.run.results import write_failures

if TYPE_CHECKING:
    from speech2face.evaluation.evaluation import Material
    from speech2face.inference.cache import Embedded

log = logging.getLogger(__name__)
INTERVAL = ("value", "low", "high")
TRAIN_PHOTOS = 3  # of each person


def evaluate(options: Evaluate, run: Run) -> int:
    """Evaluate options.encoder on data.root and write metrics, tables, plots and a gallery.

    Returns 1 if a file could not be read, else 0.
    """
    if run.earlier is not None:
        raise UserError(
            "pipeline=evaluate needs no resume: what was encoded is kept, the same command goes on from there"
        )
    check_modality(options.face, "face", "pipeline=evaluate")
    if options.data.root is None:
        raise UserError("pipeline=evaluate needs data.root= a dataset: <person>/audios, <person>/images, people.csv")
    run.way_on = "the same command, which encodes nothing twice"
    located = locate_parts(options)
    with run.stage("find"):
        dataset = read_dataset(options.data.root)
    chosen = choose_files(dataset, options)
    with quick_imports():
        import torch  # noqa: F401
    run.imported()
    from speech2face.evaluation.evaluation import evaluate as compute_metrics
    from speech2face.evaluation.report import HEADLINES, write_report
    from speech2face.inference.cache import embed
    from speech2face.inference.decoder import Decoder

    with run.stage("load"):
        loaded = load_parts(options, located)
        encoder, face = (build_encoder(loaded[slot], options) for slot in ("encoder", "face"))
        decoder = Decoder(loaded["decoder"].network, options.device, options.precision)
    if warning := untrained(loaded):
        log.warning(warning)
    run.record["weights"] = {slot: one.record() for slot, one in loaded.items()}
    data = dataclasses.replace(options.data, root=str(options.data.path))
    run.save_options(settled(options, loaded, data=data, precision=encoder.precision))
    run.save(device=str(encoder.device), precision=encoder.precision, seed=options.seed)
    with run.stage("encode"):
        cache = Path(options.cache).expanduser()
        paths = [*chosen["gallery"], *chosen["train"]]
        photos = embed(dataset.root, paths, face, cache, options.workers, "photos")
        queries = embed(dataset.root, list(chosen["queries"]), encoder, cache, options.workers, "queries")
    errors = photos.errors | queries.errors
    write_failures(run.directory, dataset.root, errors)
    material = gather(dataset, chosen, photos, queries)
    about = {"people": len(material.people), "queries": len(material.queries), "training photos": len(material.train)}
    about["failed"] = len(errors)
    run.save(counts=about)
    with run.stage("measure"):
        evaluation = compute_metrics(material, face, decoder, options, options.seed)
    with run.stage("report"):
        named = [slot for slot, one in loaded.items() if one.untrained]
        metrics = write_report(run.directory, material, evaluation, about, named)
    run.record["metrics"] = {name: row["value"] for name, row in metrics.items()}
    run.own_metric = "retrieval/cosine/all/R@1" if "retrieval/cosine/all/R@1" in metrics else None
    for name, row in metrics.items():
        if name.startswith(HEADLINES):
            ideal = "" if row["ideal"] is None else f"  ideal {row['ideal']:.3f}"
            numbers = ("undefined", "", "") if row["value"] is None else (f"{row[key]:.3f}" for key in INTERVAL)
            log.info("%-36s %9s  [%s, %s]  chance %.3f%s", name, *numbers, row["chance"], ideal)
    log.info("%s: %s", ", ".join(f"{count} {what}" for what, count in about.items()), run.directory)
    return int(bool(errors))


def gather(dataset: Dataset, chosen: dict[str, dict[str, str]], photos: "Embedded", queries: "Embedded") -> "Material":
    """The material of the evaluation: the chosen files that have an embedding, with their people.

    chosen: see choose_files. Raises UserError if too few files could be read.
    """
    import numpy as np

    from speech2face.evaluation.evaluation import Material

    good = {what: [path for path in chosen[what] if path in photos.digests] for what in ("gallery", "train")}
    people = [chosen["gallery"][path] for path in good["gallery"]]
    row = {person: i for i, person in enumerate(people)}
    paths = [path for path, person in chosen["queries"].items() if path in queries.digests and person in row]
    if len(people) < 2 or not paths:
        raise UserError(f"data.root={dataset.root}: too few files could be read; results.csv has the reasons")
    return Material(
        dataset=dataset,
        people=people,
        photos=good["gallery"],
        gallery=photos.of(good["gallery"]),
        queries=paths,
        embeddings=queries.of(paths),
        rows=np.array([row[chosen["queries"][path]] for path in paths]),
        train=[chosen["train"][path] for path in good["train"]],
        train_embeddings=photos.of(good["train"]),
    )


def choose_files(dataset: Dataset, options: Evaluate) -> dict[str, dict[str, str]]:
    """Choose the files of the evaluation: person by path, for the keys "gallery", "train" and "queries".

    gallery: the first photo of each person. train: photos of training people, none of whom is evaluated. queries: the
    recordings, or for a face encoder the other photos. Raises UserError if there are too few files.
    """
    people = dataset.split(options.split)
    training = [person for person in dataset.split("train") if person not in set(people)][: options.train_people]
    if not training:
        log.warning("no training people (split train of people.csv) besides those evaluated: no attributes")
    gallery = {dataset.files["face"][person][0]: person for person in people}
    train = {photo: person for person in training for photo in dataset.files["face"][person][:TRAIN_PHOTOS]}
    first = int(options.encoder.modality == "face")
    queries = {
        file: person
        for person in people
        for file in dataset.files[options.encoder.modality].get(person, [])[first : first + options.clips]
    }
    if len(queries) > options.queries:
        kept = random.Random(options.seed).sample(sorted(queries), options.queries)
        queries = {file: queries[file] for file in sorted(kept)}
    if len(gallery) < 2 or not queries:
        raise UserError(
            f"data.root={dataset.root}: {len(people)} people of split {options.split} with a photo, and {len(queries)} "
            f"files to compare in their {FOLDERS[options.encoder.modality]}; an evaluation needs two people, and one"
        )
    return {"gallery": gallery, "train": train, "queries": queries}
