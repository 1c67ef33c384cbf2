"""Sweeps that are killed, stopped or extended, and go on; and searches, with the picture of their trials."""

import csv
import importlib.util
import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import SPEECH, TINY_AST, run_py, start_py
from PIL import Image

from speech2face.run import sweep
from speech2face.run.command import one_line_errors
from speech2face.run.trials import draw_trials

LAUNCHERS = {
    "joblib": "hydra.launcher.n_jobs=2",
    "submitit_local": "hydra.launcher.timeout_min=5",
    "ray": "+hydra.launcher.ray.init.num_cpus=1",
}
CLIPS = 5


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
    home = tmp_path / "sweep"
    process = start_py(*command, "hydra.sweep.dir=sweep", cwd=tmp_path)
    while not begun(home / "1") and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (home / "comparison.csv").exists()
    earlier = {job: record(home / job) for job in "01"}
    run_py(*command, "resume=sweep", cwd=tmp_path)
    for job, before in earlier.items():
        counts = record(home / job)["counts"]
        assert counts["done"] == CLIPS
        if before["status"] == "finished":
            assert record(home / job) == before, "it ran again"
        elif "finished before" not in (home / job / "run.log").read_text():  # Ray's workers may live on for a while
            assert counts["kept"] > 0 or job == "0", "it began anew"
    table = (home / "comparison.csv").read_text().splitlines()
    assert table[0].startswith("input,seed=0,seed=1,") and len(table) == 1 + CLIPS


def test_a_failure_stops_a_sweep_and_what_is_missing_runs_later(run, tmp_path: Path) -> None:
    shutil.copy(SPEECH, tmp_path / "a.wav")
    command = ["-m", "audio=a.wav,b.wav,a.wav", "batch_size=1,2", *TINY_AST, "sweep.stop_on_failure=true"]
    home = tmp_path / "sweep"
    said = run(*command, "hydra.sweep.dir=sweep", status=1)
    assert said.stdout.splitlines()[-2:] == [
        f"to run what is missing: the same command with resume={home}",
        f"6 jobs, 1 failed, 3 not started: {home}/comparison.png",
    ]
    assert "job not started: job 2 failed (sweep.stop_on_failure)" in (home / "comparison.csv").read_text()
    done = record(home / "0"), record(home / "1")
    shutil.copy(SPEECH, tmp_path / "b.wav")
    again = run(*command, "resume=sweep", "workers=1")
    assert again.stdout.splitlines()[-1] == f"6 jobs: {home}/comparison.png"
    assert (record(home / "0"), record(home / "1")) == done
    assert all(record(home / str(job))["status"] == "finished" for job in range(6))
    for arguments, message in (
        ([*command[:-1], "seed=1"], "the options of that sweep had fewer (now seed=1)"),
        (["-m", command[2], command[1], *command[3:]], "the options of that sweep had another order"),
        (["-m", "hydra/sweeper=optuna", "hydra.sweeper.sampler.seed=null", *command[1:]], "hydra.sweeper.sampler.seed"),
    ):
        if "optuna" not in str(arguments) or importlib.util.find_spec("optuna"):
            assert message in run(*arguments, "resume=sweep", status=1).stderr
    assert "no sweep there" in run(*command, "resume=nowhere", status=1).stderr


def test_a_worker_that_was_killed_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setattr(sweep, "begun", tmp_path)
    with pytest.raises(SystemExit) as end, one_line_errors():
        raise RuntimeError("a worker was killed\nfor its memory")
    (line,) = capsys.readouterr().err.splitlines()
    assert end.value.code == 1 and line.startswith("error: the sweep ended (RuntimeError: a worker was killed for its")
    assert line.endswith(f"the same command with resume={tmp_path}")


def test_a_search_finds_the_best_trial_and_goes_on_with_the_same_choices(run, tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="the extra search is not installed")
    command = ["-m", "pipeline=train_face", "data=talkers", "data.root=people", "data.people=10", "data.clips=0"]
    command += ["data.photos=1", "encoder.model.width=0.1", "preprocessing.size=32", "preprocessing.crop=none"]
    command += [
        "debug=overfit",
        "trainer.max_epochs=2",
        "trainer.check_val_every_n_epoch=2",
        "logger=csv",
        "device=cpu",
        "batch_size=4",
        "metric=val/loss",
        "hydra/sweeper=optuna",
    ]
    command += ["hydra.sweeper.n_jobs=1", "hydra.sweeper.sampler.seed=0"]
    command += ["training.lr=tag(log, interval(1e-5, 1e-1))", "training.margin=choice(0.1, 0.3)"]
    run(*command, "hydra.sweeper.n_trials=2", "hydra.sweep.dir=sweep")
    home = tmp_path / "sweep"
    first, second = (record(home / job) for job in "01")
    values = [one["metrics"]["val/loss"] for one in (first, second)]
    found = yaml.safe_load((home / "optimization_results.yaml").read_text())
    assert found["best_value"] == min(values)
    assert f"training.lr={found['best_params']['training.lr']}" in (first, second)[int(np.argmin(values))]["overrides"]
    assert Image.open(home / "trials.png").width > 1000
    (home / "1" / "run.json").write_text(json.dumps(second | {"status": "running"}))
    shutil.rmtree(home / "1" / "checkpoints")
    run(*command, "hydra.sweeper.n_trials=3", "resume=sweep")
    assert record(home / "0") == first
    for name in ("overrides", "metrics"):
        assert record(home / "1")[name] == second[name]
    assert record(home / "2")["status"] == "finished"
    with open(home / "comparison.csv", newline="") as file:
        assert len(next(csv.reader(file))) == 1 + 3


@pytest.mark.parametrize("direction", ["maximize", "minimize", None])
def test_the_best_trial_is_marked(direction: str | None, tmp_path: Path) -> None:
    lrs = ("1e-4", "1e-3", "1e-2")
    jobs = [{"status": "finished", "objective": "m", "metrics": {"m": float(n)}} for n in range(3)]
    jobs = [job | {"overrides": [f"training.lr={lr}", "~prior"]} for job, lr in zip(jobs, lrs, strict=True)]
    undefined = jobs[0] | {"metrics": {"m": float("nan")}}
    draw_trials(tmp_path / "trials.png", [{"status": "failed", "overrides": []}, *jobs, undefined], direction)
    image = np.asarray(Image.open(tmp_path / "trials.png").convert("RGB"))
    lr = image[:, image.shape[1] // 2 :]  # the panel of the only option that differs
    rows, columns = np.nonzero((lr == (0xD9, 0x83, 0x24)).all(-1))
    assert bool(len(rows)) is bool(direction)
    if direction:
        assert (columns.mean() > lr.shape[1] / 2) == (direction == "maximize")
        assert (rows.mean() < lr.shape[0] / 2) == (direction == "maximize")
