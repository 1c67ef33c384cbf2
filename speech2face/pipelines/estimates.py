"""`pipeline=estimates`: fit estimates of sex and age to an encoder's embeddings, and save them with its weights."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from speech2face.config.options import FitEstimates
from speech2face.data.dataset import Dataset, read_dataset
from speech2face.data.people import SPLITS
from speech2face.errors import UserError
from speech2face.pipelines.convert import check_apart
from speech2face.pipelines.parts import build_encoder, load_parts, locate_parts, settled
from speech2face.pipelines.training import learners
from speech2face.run.record import Run
from speech2face.run.results import write_failures

if TYPE_CHECKING:
    from speech2face.evaluation.estimates import Heard
    from speech2face.inference.encoder import Encoder

log = logging.getLogger(__name__)


def estimates(options: FitEstimates, run: Run) -> int:
    """Fit on split train, calibrate on val, and test on test. Writes the weights with the estimates.

    Returns 1 if a file could not be read, else 0. Raises UserError if people.csv tells neither sex nor age of enough
    people, and for weights that are random.
    """
    if options.data.root is None:
        raise UserError("pipeline=estimates needs data.root= a dataset with sex or age in people.csv")
    located = locate_parts(options)
    check_apart(run.directory, list(located.values()))
    modality = options.encoder.modality
    with run.stage("find"):
        datasets = [read_dataset(options.data.root)]
        datasets += [read_dataset(one, option="data.mix") for one in options.data.mix or {}]
    from speech2face.evaluation.estimates import Heard, fit, metrics
    from speech2face.weights.ours import save

    with run.stage("load"):
        loaded = load_parts(options, located)["encoder"]
        encoder = build_encoder(loaded, options)
    if loaded.untrained:
        raise UserError(f"encoder.weights={options.encoder.weights}: random weights tell nothing")
    run.record["weights"] = {"encoder": loaded.record()}
    run.save_options(settled(options, {"encoder": loaded}, precision=encoder.precision))
    run.save(device=str(encoder.device), precision=encoder.precision, seed=options.seed)
    heard: dict[str, list[Heard]] = {split: [] for split in SPLITS}
    errors: dict[str, str] = {}
    for dataset in datasets:
        people = learners(dataset, modality) | {"test": dataset.split("test", modality)}
        for split, some in people.items():
            rows, failed = embedded(dataset, some, encoder, options, split)
            heard[split].append(rows)
            errors |= {path if dataset is datasets[0] else str(dataset.root / path): e for path, e in failed.items()}
    write_failures(run.directory, datasets[0].root, errors)
    found = fit(Heard.all_of(heard["train"]), Heard.all_of(heard["val"]))
    if not found.numbers:
        raise UserError(f"data.root={options.data.root}: too few people of known sex or age in splits train and val")
    for dataset, test in zip(datasets, heard["test"], strict=True):
        for name, value in metrics(found, test).items():
            run.record.setdefault("metrics", {})[f"{dataset.root.name}/{name}"] = value
            log.info("%-50s %.3f", f"{dataset.root.name}/{name}", value)
    about = {"people": [one.root.name for one in datasets], "metrics": run.record.get("metrics", {})}
    with run.stage("write"):
        save(run.directory, loaded.network.state_dict(), loaded.card() | {"estimates": about}, found.numbers)
    log.info("use them with encoder.weights=%s", run.directory)
    return int(bool(errors))


def embedded(
    dataset: Dataset, people: list[str], encoder: "Encoder", options: FitEstimates, split: str
) -> "tuple[Heard, dict[str, str]]":
    """The embeddings of the first files of some people, and the reason by path for files that could not be read."""
    from speech2face.evaluation.estimates import Heard
    from speech2face.inference.cache import embed
    from speech2face.training.traits import as_numbers

    files = dataset.files[encoder.preprocessing.modality]
    rows = [(i, path) for i, person in enumerate(people) for path in list(files.get(person, []))[: options.clips]]
    cache = Path(options.cache).expanduser()
    found = embed(dataset.root, [path for _, path in rows], encoder, cache, options.workers, f"{split} files")
    rows = [(i, path) for i, path in rows if path in found.digests]
    owners = np.array([i for i, _ in rows], np.int64)
    columns = dataset.columns(["sex", "age"], people)
    sex = columns.get("sex", np.full(len(people), "")).astype(str)
    age = as_numbers(columns.get("age", np.full(len(people), np.nan)))
    embeddings = np.asarray(found.of([path for _, path in rows])[:]) if rows else np.zeros((0, 4096), np.float32)
    return Heard(embeddings, owners, sex[owners], age[owners]), found.errors
