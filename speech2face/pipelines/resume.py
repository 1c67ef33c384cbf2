"""Resume a run: the results of a reconstruction that can be kept, the settings and the checkpoint of a training."""

import logging
import os
import re
from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from omegaconf import OmegaConf
from tqdm import tqdm

from speech2face.config.names import short
from speech2face.config.options import Output, Reconstruct, Train
from speech2face.config.read import freeze, parts
from speech2face.data.dataset import Dataset
from speech2face.errors import UserError, exists
from speech2face.files import sha256
from speech2face.pipelines.parts import settled
from speech2face.run.inputs import Input
from speech2face.run.record import Run
from speech2face.run.results import files_of, rows_done
from speech2face.run.table import restored
from speech2face.weights.front_end import leaves

if TYPE_CHECKING:
    from speech2face.training.modules import Training
    from speech2face.weights.load import Loaded

log = logging.getLogger(__name__)
SHARED = ("pipeline", "encoder", "decoder", "precision", "seed", "samples", "write")  # of both runs of a reconstruction
SAMPLING = ("prior", "guidance", "steps", "truncation")  # the same with samples
FREE = re.compile(  # options of a training that may change
    r"(choices|logger)\..*|device|workers|metric|from_weights|resume|resume_changed|defaults|training\.(patience|cache|crops)"
    r"|trainer\.((max|min)_(epochs|steps|time)|accelerator|enable_progress_bar|log_every_n_steps)"
    r"|data\.(audios|images|names|people|clips|photos|seconds)"  # data.root has been made of these
)


def rows_to_keep(options: Reconstruct, run: Run, inputs: list[Input], executor: Executor) -> list[dict[str, str]]:
    """The rows of the earlier run in this directory that are done and need not be done again.

    A row is kept if its files and its embedding exist and its input is unchanged, or is not among the inputs of this
    run. Raises UserError if the earlier run had other options (SHARED).
    """
    before = run.directory / ".hydra" / "effective.yaml"
    rows = list(rows_done(run.directory))
    if not run.earlier or "weights" not in run.earlier or not before.exists() or not rows:
        return []  # the earlier run left no usable record, so start over
    earlier, now = OmegaConf.load(before), OmegaConf.create(freeze(options))
    earlier.setdefault("write", list(get_args(Output)))  # a run of an earlier version
    for key in SHARED + (SAMPLING if options.samples else ()):
        if earlier.get(key) != now.get(key):
            what = _difference(key, earlier, now)
            raise UserError(
                f"resume={run.directory}: that run has another {what}; resume it with the same, or start anew"
            )
    wanted = {os.path.realpath(one.path): one for one in inputs}
    names, files = {one.name for one in inputs}, files_of(options.write, bool(options.samples))
    embedded = restored(run.directory).rows if "embeddings" in options.write else None

    def keep(row: dict[str, str]) -> bool:
        if not all((run.directory / row["output"] / name).exists() for name in files):
            return False
        if embedded is not None and row["sha256"] not in embedded:
            return False
        one = wanted.get(os.path.realpath(row["input"]))
        if one is None:
            return row["output"] not in names
        return one.name == row["output"] and exists(one.path) and sha256(one.path) == row["sha256"]

    keeping = tqdm(executor.map(keep, rows), "checking what is done", len(rows))
    return [row for row, kept in zip(rows, keeping, strict=True) if kept]


def _difference(key: str, earlier: Mapping[Any, Any], now: Mapping[Any, Any]) -> str:
    """The name of the difference between two options: the option itself, a front end, or a file of weights."""
    old, new = earlier.get(key), now[key]
    if key in ("encoder", "decoder", "prior") and old and old.get("model") == new["model"]:
        if old.get("preprocessing") != new["preprocessing"]:
            return "preprocessing"
        if old.get("sha256") != new["sha256"]:
            return f"file of {key}.weights"
    return key


def changed_settings(options: Train, run: Run) -> dict[str, tuple[Any, Any]]:
    """The settings of a training that differ from those of the run that it resumes: (before, now) by name.

    FREE options may differ. Weights are the same if their SHA-256 is. The numbers of people and files, which are in
    the record of both runs, are settings, too. Without the configuration of the earlier run there are no changes.

    options: as they are frozen.
    """
    file = run.directory / ".hydra" / "effective.yaml"
    if run.earlier is None or not file.exists():
        return {}
    old, new = OmegaConf.load(file), OmegaConf.create(freeze(options))
    before, now = (leaves(OmegaConf.to_container(one, resolve=False)) for one in (old, new))
    if "data" in run.earlier:
        before |= leaves({"data": run.earlier["data"]})
        now |= leaves({"data": run.record["data"]})

    def same(name: str) -> bool:
        digest = name.rpartition(".")[0] + ".sha256"
        return before.get(name) == now.get(name) or (
            name.endswith((".weights", ".init"))
            and before.get(digest) is not None
            and before[digest] == now.get(digest)
        )

    return {
        name: (before.get(name), now.get(name)) for name in before | now if not same(name) and not FREE.fullmatch(name)
    }


def check_resumed(
    options: Train,
    run: Run,
    loaded: "dict[str, Loaded]",
    dataset: Dataset,
    people: dict[str, list[str]],
    mixed: Mapping[str, tuple[Dataset, dict[str, list[str]]]] | None = None,
) -> None:
    """Record the size of the dataset. Raises UserError if a resumed training has other settings than before.

    loaded: the parts by slot. people: by split. mixed: further datasets and their people, by directory (data.mix).
    With resume_changed=true the settings may differ, see `record_changes`.
    """
    from speech2face.training.loop import training_precision

    speech = any(part.modality == "speech" for part in parts(options).values())
    run.record["data"] = _sizes(dataset, people, speech)
    if mixed:
        run.record["data"]["mix"] = {name: _sizes(*one, speech) for name, one in mixed.items()}
    precision = training_precision(options.precision, options.trainer, options.device)
    changes = changed_settings(settled(options, loaded, precision=precision), run)
    if changes and not options.resume_changed and any((run.directory / "checkpoints").glob("*.ckpt")):
        had = ", ".join(f"{short(name)}={old} (now {new})" for name, (old, new) in changes.items())
        raise UserError(
            f"resume={run.directory}: that training had {had}; give the same, or resume_changed=true to go on so"
        )


def _sizes(dataset: Dataset, people: dict[str, list[str]], speech: bool) -> dict[str, Any]:
    """The numbers of people, photos and, with `speech`, recordings by split."""
    used = {"photos": dataset.files["face"]} | ({"recordings": dataset.files["speech"]} if speech else {})
    return {
        split: {"people": len(names)}
        | {kind: sum(len(files.of(one)) for one in names if one in files) for kind, files in used.items()}
        for split, names in people.items()
    }


def record_changes(options: Train, run: Run, epochs: int) -> None:
    """Record the settings that differ from those of the run that is resumed, after those of earlier resumptions.

    options: as they are frozen. epochs: number of epochs done before.
    """
    run.record["changes"] = run.earlier.get("changes", [])
    if changes := changed_settings(options, run):
        settings = {short(name): {"before": old, "now": new} for name, (old, new) in changes.items()}
        run.record["changes"] = [*run.record["changes"], {"after_epochs": epochs, "settings": settings}]


def find_checkpoint(directory: Path, module: "Training") -> tuple[Path, int] | None:
    """The checkpoint that a training continues from, and the number of epochs done; None if nothing was saved.

    It is the last one, or the best one if the last one cannot be read. Raises UserError if none can be read, and for
    the checkpoint of another network.
    """
    import torch

    files = [directory / "checkpoints" / f"{name}.ckpt" for name in ("last", "best")]
    files = [file for file in files if file.exists()]
    for file in files:
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
            progress, tensors = content["loops"]["fit_loop"]["epoch_progress"], content["state_dict"]
        except Exception:  # damaged files raise anything
            log.warning("%s: damaged, it cannot be read", file)
            continue
        epochs = progress["current"]["processed"]
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        if shapes != {name: tensor.shape for name, tensor in module.state_dict().items()}:
            raise UserError(
                f"resume={directory}: its checkpoint is of another network; start anew, in another directory"
            )
        log.info("continues after epoch %d, from %s", epochs, file)
        return file, epochs
    if files:
        raise UserError(f"resume={directory}: no checkpoint can be read; start anew, in another directory")
    log.warning("resume=%s: no checkpoint was saved there; the training starts anew", directory)
    return None
