"""Sweeps that are killed, stopped or extended, and go on; and searches, with the picture of their trials."""

import importlib.util
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from conftest import SPEECH, TINY_AST, run_py, start_py

LAUNCHERS = {
    "joblib": "hydra.launcher.n_jobs=1",
    "submitit_local": "hydra.launcher.timeout_min=5",
    "ray": "+hydra.launcher.ray.init.num_cpus=1",
}
CLIPS = 8


def record(job: Path) -> dict:
    return json.loads((job / "run.json").read_text())


def begun(job: Path) -> bool:
    table = job / "results.csv"
    return table.exists() and len(table.read_bytes().splitlines()) > 2


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_killed_sweep_goes_on_where_it_was(launcher: str, tmp_path: Path) -> None:
    if not importlib.util.find_spec(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher"):
        pytest.skip(f"the extra cluster, with hydra/launcher={launcher}, is not installed")
    (tmp_path / "clips").mkdir()
    for number in range(CLIPS):
        shutil.copy(SPEECH, tmp_path / "clips" / f"{number:02}.wav")
    command = ["-m", "audio=clips", *TINY_AST, "seed=0,1", f"hydra/launcher={launcher}", LAUNCHERS[launcher]]
    sweep = tmp_path / "sweep"
    process = start_py(*command, "hydra.sweep.dir=sweep", cwd=tmp_path)
    while not begun(sweep / "1") and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (sweep / "comparison.csv").exists()
    earlier = {job: record(sweep / job) for job in "01"}
    run_py(*command, "resume=sweep", cwd=tmp_path)
    for job, before in earlier.items():
        counts = record(sweep / job)["counts"]
        assert counts["done"] == CLIPS
        if before["status"] == "finished":
            assert record(sweep / job) == before, "it ran again"
        elif "finished before" not in (sweep / job / "run.log").read_text():  # Ray's workers may live on for a while
            assert counts["kept"] > 0 or job == "0", "it began anew"
    table = (sweep / "comparison.csv").read_text().splitlines()
    assert table[0].startswith("input,seed=0,seed=1,") and len(table) == 1 + CLIPS
