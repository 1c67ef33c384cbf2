"""`pipeline=evaluate`: what an encoder hears (or sees) of faces, on any dataset in the project's layout."""

import logging
import random
import time
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from speech2face.compose import (
    build_encoder,
    check,
    check_whole,
    compose_config,
    describe_weights,
    how_encoded,
    how_to_run,
    load_part,
    locate_parts,
    settle,
    warn_untrained,
)
from speech2face.dataset import FOLDERS, Dataset, read_dataset
from speech2face.errors import UserError, one_line
from speech2face.files import sha256
from speech2face.results import Results
from speech2face.runs import Run, is_first, quick_imports
from speech2face.weights.locate import Located, locate

log = logging.getLogger(__name__)
INTERVAL = ("value", "low", "high")
TRAIN_PHOTOS = 3  # of each person
FACE = ("encoder", "preprocessing", "from_weights", "choices")  # of pipeline=face, what tells how a face is seen


def evaluate(config: DictConfig, run: Run, name: str, **options: Any) -> int:
    """Evaluate config.encoder on config.data.root: metrics, tables, plots, a gallery. Returns 1 if a file failed.

    options: see conf/pipeline/evaluate.yaml.
    """
    if run.earlier is not None:
        raise UserError(
            "pipeline=evaluate needs no resume: what was encoded is kept, the same command goes on from there"
        )
    check(config)
    if config.data.root is None:
        raise UserError("pipeline=evaluate needs data.root= a dataset: <person>/audios, <person>/images, people.csv")
    check_options(config, options)
    run.way_on = "the same command, which encodes nothing twice"
    face_config = see_faces(config, run.overrides)
    located = locate_parts(config)
    located_face = locate("face", config.face.encoder, face_config.encoder.weights)
    with run.stage("read"):
        dataset = read_dataset(str(config.data.root))
    chosen = choose_files(dataset, config.encoder.modality, options, config.seed)
    with quick_imports():
        import torch  # noqa: F401
    run.stages["import"] = time.perf_counter() - run.started
    from speech2face.evaluation.evaluation import evaluate as measure
    from speech2face.evaluation.features import encode
    from speech2face.evaluation.report import HEADLINES, write_report

    with run.stage("load"):
        listener, face, parts = load_networks(config, face_config, located | {"face": located_face}, run)
    settle(config, located)
    config.data.root = str(dataset.root.absolute())
    run.record["weights"] = {
        part: describe_weights(choice, one, parts[part], sha256(one.file) if one.file else None)
        for part, choice, one in (
            ("encoder", config.choices.encoder, located["encoder"]),
            ("face encoder", face_config.choices.encoder, located_face),
            ("decoder", config.choices.decoder, located["decoder"]),
        )
    }
    config.precision = listener.precision
    run.save_config(config)
    run.save(device=str(listener.device), precision=config.precision, seed=config.seed)
    with run.stage("encode"):
        cache = Path(options["cache"]).expanduser()
        see, hear = how_encoded(face_config), how_encoded(config)
        photos = encode(
            dataset.root, [*chosen["gallery"], *chosen["train"]], face, see, cache, config.workers, "photos"
        )
        queries = encode(dataset.root, list(chosen["queries"]), listener, hear, cache, config.workers, "queries")
    errors = photos.errors | queries.errors
    write_results(run, dataset.root, errors)
    material = gather(dataset, chosen, photos, queries)
    about = {"people": len(material.people), "queries": len(material.queries), "training photos": len(material.train)}
    about["failed"] = len(errors)
    run.save(counts=about)
    with run.stage("measure"):
        evaluation = measure(material, listener, face, options, config.seed)
    with run.stage("report"):
        untrained = [part for part, loaded in parts.items() if loaded.untrained]
        figures = write_report(run.directory, material, evaluation, about, untrained)
    for figure, row in figures.items():
        if figure.startswith(HEADLINES):
            ideal = "" if row["ideal"] is None else f"  ideal {row['ideal']:.3f}"
            numbers = ("undefined", "", "") if row["value"] is None else (f"{row[key]:.3f}" for key in INTERVAL)
            log.info("%-36s %9s  [%s, %s]  chance %.3f%s", figure, *numbers, row["chance"], ideal)
    log.info("%s: %s", ", ".join(f"{count} {what}" for what, count in about.items()), run.directory)
    return int(bool(errors))


def load_networks(
    config: DictConfig, face_config: DictConfig, located: dict[str, Located], run: Run
) -> tuple[Any, ...]:
    """What hears and draws, what sees and draws, and the loaded parts by name."""
    from speech2face.reconstructor import Reconstructor

    preprocessing, encoder = build_encoder(config, located["encoder"], run.overrides)
    face_preprocessing, face_encoder = build_face(config, face_config, located["face"])
    decoder = load_part(config, "decoder", located["decoder"], run.overrides)
    parts = {"encoder": encoder, "face encoder": face_encoder, "decoder": decoder}
    warn_untrained(parts)
    how = how_to_run(config)
    listener = Reconstructor(preprocessing, encoder.model, decoder.model, **how)
    return listener, Reconstructor(face_preprocessing, face_encoder.model, decoder.model, **how), parts


def build_face(config: DictConfig, face_config: DictConfig, located: Located) -> tuple[Any, Any]:
    """What sees the faces, (preprocessing, loaded encoder), and in config.face what it takes to see them so again."""
    overrides = [f"encoder.weights={config.face.weights}", *map(str, config.face.overrides)]
    built = build_encoder(face_config, located, overrides)
    settle(face_config, {"encoder": located})
    config.face.effective = {key: face_config[key] for key in FACE}
    return built


def gather(dataset: Dataset, chosen: dict[str, dict[str, str]], photos: Any, queries: Any) -> Any:
    """The files that have features, with the people that they are of."""
    import numpy as np

    from speech2face.evaluation.evaluation import Material

    good = {what: [path for path in chosen[what] if path in photos.digests] for what in ("gallery", "train")}
    people = [chosen["gallery"][path] for path in good["gallery"]]
    row = {person: i for i, person in enumerate(people)}
    asked = [path for path, person in chosen["queries"].items() if path in queries.digests and person in row]
    if len(people) < 2 or not asked:
        raise UserError(f"data.root={dataset.root}: too few files could be read; results.csv has the reasons")
    return Material(
        dataset=dataset,
        people=people,
        photos=good["gallery"],
        gallery=photos.of(good["gallery"]),
        queries=asked,
        features=queries.of(asked),
        rows=np.array([row[chosen["queries"][path]] for path in asked]),
        train=[chosen["train"][path] for path in good["train"]],
        train_features=photos.of(good["train"]),
    )


def see_faces(config: DictConfig, overrides: list[str]) -> DictConfig:
    """The face pipeline's configuration that config.face describes; in a run that is repeated, as it was settled."""
    face = config.face
    if face.effective:
        if any(override.lstrip("+").startswith("face.") for override in overrides):
            raise UserError("a run that is repeated sees faces as it did: face. options have no effect, leave them out")
        seeing = compose_config(["pipeline=face"])
        for key in FACE:
            seeing[key] = face.effective[key]
    else:
        try:
            seeing = compose_config(["pipeline=face", f"encoder={face.encoder}", *map(str, face.overrides)])
            check(seeing)
        except (HydraException, OmegaConfBaseException, UserError) as error:
            raise UserError(f"face.encoder={face.encoder} face.overrides={face.overrides}: {one_line(error)}") from None
        seeing.encoder.weights = face.weights
    seeing.seed = config.seed
    return seeing


def check_options(config: DictConfig, options: dict[str, Any]) -> None:
    """Raise UserError for values that conf/pipeline/evaluate.yaml does not allow for."""
    for option, least in (("clips", 1), ("queries", 1), ("train_people", 0), ("pictures", 1), ("samples", 20)):
        check_whole(f"pipeline.{option}", options[option], least)
    lists = {f"pipeline.{name}": options[name] for name in ("gallery_sizes", "attributes")}
    for option, value in (lists | {"face.overrides": config.face.overrides}).items():
        if not OmegaConf.is_list(value):
            raise UserError(f"{option}={value}: must be a list, as in {option}=[...]")
    for size in options["gallery_sizes"]:
        check_whole("pipeline.gallery_sizes", size, 2)
    for option, value in (("pipeline.cache", options["cache"]), ("pipeline.split", options["split"])):
        if not isinstance(value, str) or not value:
            raise UserError(f"{option}={value}: must be text")


def choose_files(dataset: Dataset, modality: str, options: dict[str, Any], seed: int) -> dict[str, dict[str, str]]:
    """Which files are looked at, each with its person: photos of the gallery and of training, and queries.

    A person's first photo is in the gallery; queries are the recordings, or the other photos for a face encoder. Nobody
    who is evaluated is learnt from.
    """
    people = dataset.split(options["split"])
    training = [person for person in dataset.split("train") if person not in set(people)][: options["train_people"]]
    if not training:
        log.warning("nobody to learn from (split train of people.csv, but for who is evaluated): no attributes")
    gallery = {dataset.files["face"][person][0]: person for person in people}
    train = {photo: person for person in training for photo in dataset.files["face"][person][:TRAIN_PHOTOS]}
    first = int(modality == "face")
    queries = {
        file: person
        for person in people
        for file in dataset.files[modality].get(person, [])[first : first + options["clips"]]
    }
    if len(queries) > options["queries"]:
        kept = random.Random(seed).sample(sorted(queries), options["queries"])
        queries = {file: queries[file] for file in sorted(kept)}
    if len(gallery) < 2 or not queries:
        raise UserError(
            f"data.root={dataset.root}: {len(people)} people of split {options['split']} with a photo, and "
            f"{len(queries)} files to compare in their {FOLDERS[modality]}; an evaluation needs two people, and one"
        )
    return {"gallery": gallery, "train": train, "queries": queries}


def write_results(run: Run, root: Path, errors: dict[str, str]) -> None:
    """results.csv: a row of every file that failed."""
    if not is_first():
        return
    results = Results(run.directory, (), [])
    for path, error in errors.items():
        results.add({"input": str(root / path), "status": "failed", "error": error})
        log.error("failed: %s: %s", root / path, error)
    results.close()
