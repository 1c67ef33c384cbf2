"""Resume a reconstruction: find the results of the earlier run that can be kept."""

import os
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Any

from omegaconf import OmegaConf
from tqdm import tqdm

from speech2face.config.options import Reconstruct
from speech2face.config.read import freeze
from speech2face.errors import UserError
from speech2face.files import sha256
from speech2face.run.inputs import Input
from speech2face.run.record import Run
from speech2face.run.results import FILES, read_results

SHARED = ("pipeline", "encoder", "decoder", "precision", "seed", "samples")  # options that both runs must share


def rows_to_keep(options: Reconstruct, run: Run, inputs: list[Input], executor: Executor) -> list[dict[str, str]]:
    """The rows of the earlier run in this directory that are done and need not be done again.

    A row is kept if its files exist and its input is unchanged, or is not among the inputs of this run. Raises
    UserError if the earlier run had other options (SHARED).
    """
    before = run.directory / ".hydra" / "effective.yaml"
    rows = [row for row in read_results(run.directory) if row["status"] == "done"]
    if not run.earlier or "weights" not in run.earlier or not before.exists() or not rows:
        return []  # the earlier run left no usable record, so start over
    earlier, now = OmegaConf.load(before), OmegaConf.create(freeze(options))
    for key in SHARED:
        if earlier.get(key) != now[key]:
            what = _difference(key, earlier, now)
            raise UserError(
                f"resume={run.directory}: that run has another {what}; resume it with the same, or start anew"
            )
    wanted = {os.path.realpath(one.path): one for one in inputs}
    names = {one.name for one in inputs}

    def keep(row: dict[str, str]) -> bool:
        if not all((run.directory / row["output"] / name).exists() for name in FILES):
            return False
        one = wanted.get(os.path.realpath(row["input"]))
        if one is None:
            return row["output"] not in names
        return one.name == row["output"] and sha256(one.path) == row["sha256"]

    keeping = tqdm(executor.map(keep, rows), "checking what is done", len(rows))
    return [row for row, kept in zip(rows, keeping, strict=True) if kept]


def _difference(key: str, earlier: Mapping[Any, Any], now: Mapping[Any, Any]) -> str:
    """The name of the difference between two options: the option itself, a front end, or a file of weights."""
    old, new = earlier.get(key), now[key]
    if key in ("encoder", "decoder") and old and old.get("model") == new["model"]:
        if old.get("preprocessing") != new["preprocessing"]:
            return "preprocessing"
        if old.get("sha256") != new["sha256"]:
            return f"file of {key}.weights"
    return key
