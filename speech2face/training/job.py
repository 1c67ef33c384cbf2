"""What the three trainings share: how they begin, what they read, and how they are carried out."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from speech2face.compose import check, config_dict, describe_weights, settle
from speech2face.dataset import Dataset, read_dataset
from speech2face.errors import UserError
from speech2face.files import sha256
from speech2face.pipelines.evaluate import write_results
from speech2face.pipelines.talkers import provide
from speech2face.runs import Run, quick_imports
from speech2face.weights.locate import Located

log = logging.getLogger(__name__)
VAL_SHARE = 10  # one person in so many, where the dataset has no split of its own


@dataclass
class Job:
    """A training: what learns from what.

    part: "encoder" or "decoder"; loaded: it. module, train, val, draw: see training.loop. errors: of unreadable files.
    """

    part: str
    loaded: Any
    module: Any
    train: Any
    val: Any
    draw: Any
    errors: dict[str, str]
    preprocessing: dict[str, Any] | None = None


class Trait:
    """A column of people.csv as what a network can learn: a number standardised, or one of some classes."""

    def __init__(self, values: np.ndarray) -> None:
        self.names = None if values.dtype.kind == "f" else sorted({value for value in values.tolist() if value})
        self.classes = len(self.names) if self.names else 1
        self.mean, self.deviation = (0.0, 0.0) if self.names else (float(np.nanmean(values)), float(np.nanstd(values)))

    def encode(self, values: np.ndarray) -> np.ndarray:
        """(n,) float32, NaN where unknown; or int64, -1 where unknown."""
        if self.names is None:
            return ((values.astype(np.float64) - self.mean) / self.deviation).astype(np.float32)
        number = {name: i for i, name in enumerate(self.names)}
        return np.array([number.get(value, -1) for value in values.tolist()], np.int64)


def learnt_traits(dataset: Dataset, people: list[str], names: list[str]) -> dict[str, Trait]:
    """Columns of people.csv that are there and in which these people differ."""
    heads = {name: Trait(values) for name, values in dataset.columns(names, people).items()}
    return {name: one for name, one in heads.items() if one.classes > 1 or one.deviation > 0}


def encode_traits(dataset: Dataset, people: list[str], heads: dict[str, Trait]) -> dict[str, np.ndarray]:
    """What these people have of each trait, (n,), as a network learns it."""
    columns = dataset.columns(list(heads), people)
    return {name: head.encode(columns[name]) for name, head in heads.items()}


def begin(config: DictConfig, run: Run) -> tuple[Dataset, dict[str, list[str]]]:
    """The dataset, made if it is of talkers and not there yet, and its people by split: train and val."""
    try:
        with quick_imports():
            import lightning  # noqa: F401
    except ImportError:
        raise UserError("training needs the extra `train`: pip install 'speech2face[train]'") from None
    run.stages["import"] = time.perf_counter() - run.started
    check(config)
    if run.earlier is not None:
        run.begin()
    provide(config, run)
    if config.data.root is None:
        raise UserError(f"pipeline={config.pipeline.name} needs data.root= a dataset, or data=talkers")
    with run.stage("find"):
        dataset = read_dataset(str(config.data.root))
    config.data.root = str(dataset.root.absolute())
    people = {split: dataset.split(split) for split in ("train", "val")}
    if not people["train"] or not people["val"]:
        everybody = people["train"] or dataset.split("all")
        people = {"train": [one for i, one in enumerate(everybody) if i % VAL_SHARE], "val": everybody[::VAL_SHARE]}
        log.warning("people.csv has no splits train and val: one person in %d is for validation", VAL_SHARE)
    if len(people["train"]) < 2 or not people["val"]:
        raise UserError(f"data.root={config.data.root}: too few people with photos to train and to validate on")
    return dataset, people


def normalized_faces(
    config: DictConfig, dataset: Dataset, people: list[str], name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Normalized faces of some people, (n, 224, 224, 3) uint8, and their landmarks (n, 72, 2)."""
    from speech2face.preprocessing.image import Image
    from speech2face.training.data import crops

    paths = [dataset.normalized[person] for person in people]
    whole, cache = Image(crop="none"), Path(config.training.crops).expanduser()
    pictures, failed = crops(dataset.root, paths, whole, cache, config.workers, f"{name} normalized faces")
    if failed:
        path, error = next(iter(failed.items()))
        raise UserError(f"{dataset.root / path}: {error}")
    return pictures, np.stack([dataset.landmarks[path] for path in paths]).astype(np.float32)


def photos(dataset: Dataset, people: list[str]) -> dict[str, str]:
    """Paths of the photos of some people, and whose they are."""
    return {path: person for person in people for path in dataset.files["face"][person]}


def options(config: DictConfig) -> dict[str, Any]:
    """What every module takes of config.training."""
    from hydra.utils import instantiate

    training = config.training
    optimizer = instantiate(training.optimizer)
    weights = {name: float(weight) for name, weight in training.losses.items()}
    if not any(weights.values()):
        raise UserError("training.losses: all are switched off")
    return {
        "weights": weights,
        "optimizer": optimizer,
        "lr": training.lr,
        "warmup": training.warmup,
        "seed": config.seed,
    }


def has_classes(model: Any) -> bool:
    return hasattr(model, "classify") and getattr(model, "classifier", True) is not None


def begin_at_the_mean(decoder: Any, landmarks: np.ndarray) -> None:
    """Let a fresh decoder begin with the mean landmarks of the training set; a warp has them as its mean face."""
    import torch

    mean = torch.from_numpy(landmarks.mean(0))
    decoder.landmark_output.bias.data = mean.flatten().clone()
    if decoder.warp:
        decoder.mean_landmarks.copy_(mean)


def settled(config: DictConfig, run: Run, parts: dict[str, tuple[Located, Any]]) -> None:
    """Note which weights the training begins with, and the configuration that repeats it."""
    run.record["weights"] = {
        part: describe_weights(
            config.choices.get(part, part), located, loaded, sha256(located.file) if located.file else None
        )
        for part, (located, loaded) in parts.items()
    }
    settle(config, {part: located for part, (located, _) in parts.items() if part in config})


def carry_out(config: DictConfig, run: Run, job: Job) -> int:
    """Train, and say where the weights are. Returns 1 if a file could not be read."""
    import torch

    from speech2face.training.loop import Data, fit, training_precision
    from speech2face.weights.ours import without_run_settings

    config.precision = training_precision(config.precision, config_dict(config.trainer), str(config.device))
    run.save_config(config)
    run.save(device=str(config.device), precision=config.precision, seed=config.seed)
    write_results(run, Path(config.data.root), job.errors)
    if not len(job.train) or not len(job.val):
        raise UserError(f"data.root={config.data.root}: no file to train on could be read; results.csv has the reasons")
    recipe = {"batch_size": config.batch_size, "precision": config.precision, "seed": config.seed}
    recipe |= {key: value for key, value in config_dict(config.training).items() if key not in ("cache", "crops")}
    root = Path(config.data.root)
    people = len(set(job.train.people.tolist())) if job.part == "encoder" else len(job.train.pictures)
    card = {
        "part": job.part,
        "architecture": job.loaded.architecture,
        "preprocessing": job.preprocessing and without_run_settings(job.preprocessing),
        "untrained": False,
        "training": {
            "command": run.record["command"],
            "data": {
                "root": root.name,
                "people": people,
                "rows": len(job.train),
                "simulated": (root / "talkers.json").exists(),
            },
            "recipe": recipe,
            "git": run.record["git"],
            "versions": run.record["versions"],
        },
    }
    torch.manual_seed(config.seed)
    balanced = bool(config.training.get("balanced"))
    data = Data(job.train, job.val, config.batch_size, config.workers, config.seed, balanced)
    log.info("%d rows to train on, %d to validate", len(job.train), len(job.val))
    with run.stage("train"):
        metrics = fit(
            job.module,
            data,
            config_dict(config.trainer),
            run.directory,
            card,
            job.draw,
            str(config.device),
            config.precision,
            config.training.patience,
            resume=run.earlier is not None,
        )
    run.record["metrics"] = metrics
    log.info("%s", ", ".join(f"{name} {value:.4g}" for name, value in metrics.items()))
    log.info("use them with %s.weights=%s", job.part, run.directory / "weights" / "best")
    return int(bool(job.errors))
