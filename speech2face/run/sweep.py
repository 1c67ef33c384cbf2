"""A sweep that goes on: which of its jobs are done, and how the others are run. And one that stops at a failure."""

import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from speech2face.config.names import short
from speech2face.errors import UserError
from speech2face.files import atomic
from speech2face.run.record import read_record
from speech2face.weights.front_end import leaves

COMMAND = "multirun.yaml"  # the configuration of the sweep, as Hydra's own sweeper writes it, too
STOPPED = "stopped"  # the file that a job leaves whose failure stops the sweep
FREE = re.compile(r"(resume|resume_changed|device|workers|logger|sweep\.\w+|logger\..*|hydra\.sweeper\.n_trials)=.*")

begun: Path | None = None  # the directory of the sweep that this process has begun


def begin(config: DictConfig, directory: Path) -> None:
    """Keep the configuration of a sweep in its directory, and forget the failure that stopped it before."""
    global begun
    begun = directory
    with atomic(directory / COMMAND) as partial:
        OmegaConf.save(config, partial)
    (directory / STOPPED).unlink(missing_ok=True)


def go_on(config: DictConfig) -> None:
    """Set the configuration of a sweep so that it writes to the directory `resume`, with the same jobs as before.

    Raises UserError if there is no sweep, or if it had other options, because the number of a job would then not be
    that of a job with the same options.
    """
    directory = Path(config.resume)
    if not (directory / COMMAND).exists():
        raise UserError(f"resume={directory}: no sweep there to go on with (no {COMMAND})")
    if OmegaConf.select(config, "hydra.sweeper.sampler.seed", default=0) is None:
        raise UserError("resume=: a search goes on only with hydra.sweeper.sampler.seed=, which repeats its choices")
    earlier = OmegaConf.load(directory / COMMAND)
    had, has = (_asked(one) for one in (earlier, config))
    if earlier and had != has:
        lost, new = ([one for one in a if one not in b] for a, b in ((had, has), (has, had)))
        told = f"{' '.join(lost) or 'fewer'} (now {' '.join(new) or 'fewer'})" if lost or new else "another order"
        raise UserError(f"resume={directory}: the options of that sweep had {told}; give the same, or start anew")
    with open_dict(config):
        typed = next(one for one in config.hydra.overrides.task if one.lstrip("+").startswith("resume="))
        config.hydra.overrides.task.remove(typed)
        config.hydra.sweep.dir, config.resume = str(directory), "???"


def _asked(config: DictConfig) -> list[str]:
    """The options of a sweep, in their order, and those of its sweeper."""
    if not OmegaConf.select(config, "hydra.overrides.task"):
        return []
    content = OmegaConf.create(OmegaConf.to_yaml(config.hydra.sweeper))  # as in the file
    sweeper = leaves({"hydra": {"sweeper": OmegaConf.to_container(content, resolve=False)}})
    options = [*config.hydra.overrides.task, *(f"{name}={value}" for name, value in sweeper.items())]
    return [short(one) for one in options if not FREE.fullmatch(one)]


def earlier_job(directory: Path, overrides: list[str]) -> dict[str, Any] | None:
    """The record of the job that ran in a directory before, with the same options; None if there is none.

    Raises UserError if a job with other options is finished there.
    """
    if not (directory / "run.json").exists():
        return None
    record = read_record(directory)
    same = [one for one in record.get("overrides", []) if not FREE.fullmatch(one)]
    if same == [one for one in overrides if not FREE.fullmatch(one)]:
        return record
    if record.get("status") == "finished":
        raise UserError(f"{directory} holds a finished job with other options: {' '.join(map(short, same))}")
    return None


def is_done(record: dict[str, Any], settings: DictConfig) -> bool:
    """Whether a job need not run again.

    In a grid that is a finished one; in a search (hydra/sweeper=optuna) a failed one, too, because the later jobs were
    chosen with this failure in mind. settings: of Hydra.
    """
    searching = settings.runtime.choices.get("hydra/sweeper", "basic") != "basic"
    return record.get("status") in (("finished", "failed") if searching else ("finished",))


def stop(settings: DictConfig) -> None:
    """Start no further job of this sweep, because the one of these settings of Hydra has failed."""
    with atomic(Path(settings.sweep.dir) / STOPPED) as partial:
        partial.write_text(f"{settings.job.num}")


def stopped_by(directory: Path) -> str | None:
    """The number of the job whose failure has stopped the sweep in a directory, or None."""
    file = directory / STOPPED
    return file.read_text() if file.exists() else None
