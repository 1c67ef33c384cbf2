"""The steps that all trainings share: begin, load the parts, carry out."""

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speech2face.config.options import Train
from speech2face.config.read import parts
from speech2face.data.dataset import Dataset, read_dataset
from speech2face.errors import UserError, extra
from speech2face.pipelines.parts import check_modality, load_parts, locate_parts, settled
from speech2face.pipelines.resume import find_checkpoint, record_changes
from speech2face.pipelines.seen import population
from speech2face.pipelines.talkers import provide
from speech2face.run.process import quick_imports
from speech2face.run.record import Run
from speech2face.run.results import write_failures, write_passed_over
from speech2face.run.tracking import begin as begin_tracking
from speech2face.run.tracking import tracked

if TYPE_CHECKING:
    from PIL import Image
    from torch.utils.data import Dataset as Rows

    from speech2face.training.modules import Training
    from speech2face.weights.load import Loaded

log = logging.getLogger(__name__)
VAL_SHARE = 10  # one person in 10 is for validation, if the dataset has no splits
FEW = 100  # rows of validation, below which a rank among them is easy


@dataclass
class Job:
    """A training that is ready to run.

    loaded: all parts by slot. module: the Lightning module. train, val: rows of the two splits.
    draw: draws the sheet of an epoch. errors: the reason by path for files that could not be read.
    """

    loaded: "dict[str, Loaded]"
    module: "Training"
    train: "Rows"
    val: "Rows"
    draw: "Callable[[Training], Image.Image]"
    errors: dict[str, str]


def begin(options: Train, run: Run, modality: str) -> tuple[Train, Dataset, dict[str, list[str]]]:
    """Check the options and read the dataset; a dataset of talkers is made first, if it is incomplete.

    Returns the options with the absolute root of the dataset, the dataset, and its people by split ("train", "val").
    Raises UserError for options that do not fit together, and for a dataset that is too small.
    """
    try:
        with quick_imports():
            import lightning  # noqa: F401
    except ImportError:
        raise UserError(f"training needs the extra `train`: {extra('train')}") from None
    run.imported()
    check_modality(options.encoder, modality, f"pipeline={options.pipeline.name}")
    for slot, part in parts(options).items():
        if slot != "encoder" and part.modality:
            check_modality(
                part, "speech" if slot.startswith("voices.") else "face", f"pipeline={options.pipeline.name}"
            )
    if not any(options.training.losses.values()):
        raise UserError("training.losses: all are switched off")
    if options.training.ema is not None and options.training.average_from is not None:
        raise UserError("training.ema, training.average_from: give one of them")
    for limit in ("max_epochs", "max_steps"):
        value = options.trainer.get(limit)
        if value == 0 and (limit == "max_steps" or options.trained == "encoder"):
            raise UserError(f"trainer.{limit}=0 trains nothing: give at least 1")
        if value is not None and (type(value) is not int or value < -1):
            raise UserError(f"trainer.{limit}={value}: must be a whole number, at least 1, or -1: no limit")
    options = provide(options, run)
    if options.data.root is None:
        raise UserError(f"pipeline={options.pipeline.name} needs data.root= a dataset, or data=talkers")
    with run.stage("find"):
        dataset = read_dataset(options.data.root, options.data.where if modality == "face" else None)
    options = dataclasses.replace(options, data=dataclasses.replace(options.data, root=str(options.data.path)))
    people = learners(dataset, modality)
    if len(people["train"]) < 2 or not people["val"]:
        what = "photos" if modality == "face" else "recordings"
        raise UserError(f"data.root={options.data.root}: too few people with {what} to train and to validate on")
    if modality == "face" and options.data.mix:
        raise UserError(f"data.mix: pipeline={options.pipeline.name} takes one dataset, data.root")
    return options, dataset, people


def learners(dataset: Dataset, modality: str) -> dict[str, list[str]]:
    """The people to train and to validate on ("train", "val"), who have files of a modality."""
    people = {split: dataset.split(split, modality) for split in ("train", "val")}
    if people["train"] and people["val"]:
        return people
    whole = people["train"] or dataset.split("all", modality)
    missing = "split val" if people["train"] else "splits train and val"
    log.warning("%s has no %s: one person in %d is for validation", dataset.root, missing, VAL_SHARE)
    return {"train": [one for i, one in enumerate(whole) if i % VAL_SHARE], "val": whole[::VAL_SHARE]}


def load(options: Train, run: Run) -> dict[str, "Loaded"]:
    """Load every part with the weights that the training starts from, and record the weights."""
    import torch

    located = locate_parts(options)
    with run.stage("load"):
        loaded = load_parts(options, located)
    torch.manual_seed(options.seed)  # of the layers that the training adds
    run.record["weights"] = {slot: one.record() for slot, one in loaded.items()}
    return loaded


def learns(options: Train, encoder: "Loaded") -> str:
    """What of the encoder is trained (encoder.train). Raises UserError if its class cannot tell its parts apart."""
    from speech2face.encoders.base import EncoderNetwork

    if options.encoder.train == "all":
        return "all"
    named = f"encoder.train={options.encoder.train}"
    if not isinstance(encoder.network, EncoderNetwork):
        raise UserError(f"{named}: the encoder's class is no EncoderNetwork (speech2face.encoders.base)")
    try:
        encoder.network.learn(options.encoder.train)
    except ValueError as error:
        raise UserError(f"{named}: {error}") from None
    if not any(one.requires_grad for one in encoder.network.parameters()):
        raise UserError(f"{named}: this network has no head with weights (encoder=dlib: encoder.model.linear=true)")
    return options.encoder.train


def common(options: Train) -> dict[str, Any]:
    """The arguments that all training modules take."""
    from hydra.utils import instantiate

    training = options.training
    return {
        "loss_weights": training.losses,
        "optimizer": instantiate(training.optimizer),
        "lr": training.lr,
        "warmup": training.warmup,
        "seed": options.seed,
    }


def carry_out(options: Train, run: Run, job: Job) -> int:
    """Train, and record the metrics and the effective options. Returns 1 if a file could not be read, else 0."""
    import torch

    from speech2face.training.loop import Data, Settings, fit, training_precision

    precision = training_precision(options.precision, options.trainer, options.device)
    options = settled(options, job.loaded, precision=precision)
    found = None
    if run.earlier is not None:
        found = find_checkpoint(run.directory, job.module)
        if found:
            record_changes(options, run, found[1])
        run.begin()
    run.save_options(options)
    run.save(device=options.device, precision=options.precision, seed=options.seed)
    root = Path(options.data.root)
    if run.first:
        write_failures(run.directory, root, job.errors)
    if not len(job.train) or not len(job.val):
        raise UserError(f"data.root={root}: no file to train on could be read; results.csv has the reasons")
    torch.manual_seed(options.seed)
    balanced = getattr(options.training, "balanced", False)
    repeat = bool(options.trainer.get("overfit_batches"))
    data = Data(job.train, job.val, options.batch_size, options.workers, options.seed, balanced, repeat)
    few = "; so few rank each other easily, and R@K says little" if len(job.val) < FEW else ""
    log.info("%d rows to train on, %d to validate%s", len(job.train), len(job.val), few)
    with tracked(options.logger, run) as loggers:
        begin_tracking(loggers, options.logger, run)
        settings = Settings(
            directory=run.directory,
            trainer=options.trainer,
            loggers=list(loggers.values()),
            device=options.device,
            precision=options.precision,
            patience=options.training.patience,
            ema=options.training.ema,
            average_from=options.training.average_from,
            checkpoint=found and found[0],
        )
        try:
            with run.stage("train"):
                metrics = fit(job.module, data, settings, card(options, run, job), job.draw)
        finally:
            rows = (job.train, job.val)
            lost = {path: why for one in rows for path, why in getattr(one, "failures", dict)().items()}
            if lost and run.first:
                write_passed_over(run.directory, root, lost)
        if not metrics:
            if not found:
                raise UserError(
                    "trainer: not one epoch was done, and nothing was saved; allow more epochs, steps or time"
                )
            log.warning("all %d epochs had been done: nothing was left to train (trainer.max_epochs)", found[1])
            metrics = run.earlier.get("metrics", {})
        run.record["metrics"] = metrics
    run.own_metric = next((name for name in metrics if name.startswith("best/")), None)
    log.info("%s", ", ".join(f"{name} {value:.4g}" for name, value in metrics.items()))
    log.info("use them with %s.weights=%s", options.trained, run.directory / "weights" / "best")
    return int(bool(job.errors))


def card(options: Train, run: Run, job: Job) -> dict[str, Any]:
    """The card of the trained weights (speech2face.weights.ours), without the metrics of an epoch."""
    import msgspec

    from speech2face.weights.ours import without_run_settings

    recipe = {"batch_size": options.batch_size, "precision": options.precision, "seed": options.seed}
    training = msgspec.to_builtins(options.training)
    recipe |= {key: value for key, value in training.items() if key not in ("cache", "crops")}
    for change in run.record.get("changes", []):
        listed = ", ".join(f"{name} {one['before']} -> {one['now']}" for name, one in change["settings"].items())
        recipe[f"changed after epoch {change['after_epochs']}"] = listed
    root = Path(options.data.root)
    part = job.loaded[options.trained].part
    seen = job.loaded["encoder"] if options.trained == "decoder" else job.loaded.get("face")
    return {
        "part": part.kind,
        "architecture": part.model,
        "preprocessing": part.preprocessing and without_run_settings(part.preprocessing),
        "untrained": False,
        "embeddings": seen.space if seen else None,
        "training": {
            "command": run.record["command"],
            "data": {
                "root": root.name,
                "people": len(set(job.train.people.tolist())) if part.kind != "decoder" else len(job.train.pictures),
                "rows": len(job.train),
                "mix": {Path(directory).name: weight for directory, weight in (options.data.mix or {}).items()},
                "simulated": (root / "talkers.json").exists(),
                "talkers": population(root),
            },
            "recipe": recipe,
            "git": run.record["git"],
            "versions": run.record["versions"],
        },
    }
