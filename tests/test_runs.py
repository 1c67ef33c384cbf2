"""Runs as they are started and ended in the field: ranks, signals, locales, odd names, logs, sweeps."""

import csv
import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import EXAMPLES, PHOTO, ROOT, SPEECH, TINY, TINY_AST, TINY_PAPER, start_py
from omegaconf import OmegaConf

from speech2face.config.compose import options_of, store_defaults
from speech2face.config.names import canonical
from speech2face.config.read import freeze
from speech2face.errors import UserError
from speech2face.files import leave_to_parent
from speech2face.run import process
from speech2face.run.process import RANKS, is_first

store_defaults()
ONE = [f"audio={SPEECH}", *TINY_AST]


def record(directory: Path) -> dict:
    return json.loads((directory / "run.json").read_text())


def error_of(result: subprocess.CompletedProcess) -> str:
    """The one line of a run that ends with a mistake."""
    said = result.stdout + result.stderr
    (line,) = [line for line in said.splitlines() if line.strip()]
    assert line.startswith("error: "), said
    return line


# Ranks


@pytest.mark.parametrize("name", RANKS)
def test_only_trainings_have_ranks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for one in RANKS:
        monkeypatch.delenv(one, raising=False)
    for value, first in {"0": True, "3": False, "": True, "-1": True}.items():  # -1: no rank
        monkeypatch.setenv(name, value)
        assert is_first(trains=True) is first and is_first(trains=False)
    monkeypatch.setenv(name, "abc")
    assert is_first(trains=False)
    with pytest.raises(UserError, match=f"{name}=abc: the rank of this process must be a whole number"):
        is_first(trains=True)


def test_a_rank_changes_nothing_of_a_reconstruction(run, tmp_path: Path) -> None:
    run(*ONE, "hydra.run.dir=out", env={"SLURM_PROCID": "3", "RANK": "abc"})
    assert record(tmp_path / "out")["status"] == "finished"
    assert (tmp_path / "out" / ".hydra" / "effective.yaml").exists()
    for rank in ("1", "2"):
        assert "out holds a run already" in error_of(run(*ONE, "hydra.run.dir=out", env={"NODE_RANK": rank}, status=1))
    run(*ONE, "resume=out", env={"LOCAL_RANK": "2"})
    assert record(tmp_path / "out")["counts"]["kept"] == 1
    said = run("-m", *ONE, "seed=0,1", "hydra.sweep.dir=sweep", env={"SLURM_PROCID": "1"}).stdout
    assert said.splitlines()[-1] == f"2 jobs: {tmp_path / 'sweep' / 'comparison.png'}"
    train = ["pipeline=train_face", "data.root=nowhere"]
    assert "RANK=abc" in error_of(run(*train, env={"RANK": "abc"}, status=1))
    assert "a sweep of trainings" in error_of(run("-m", *train, "seed=0,1", env={"SLURM_PROCID": "1"}, status=1))


# Signals


def terminate(command: list[str], home: Path, number: signal.Signals, begun: Callable[[], bool]) -> str:
    """Start `python run.py COMMAND hydra.run.dir=out`, end it by a signal once it has begun, and return its output."""
    process = start_py(*command, "hydra.run.dir=out", cwd=home)
    while not begun() and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, number)  # as a batch system does: to all processes
    said = "".join(process.communicate())
    assert process.returncode == 128 + number and "Traceback" not in said, said
    assert record(home / "out")["status"] == "interrupted"
    assert not [path for path in home.rglob("*") if "partial" in path.name]
    return said


def test_worker_processes_are_ended_in_the_middle_of_their_work() -> None:
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), process.worker_processes(1, leave_to_parent) as executor:
        assert executor.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ()).result() == {signal.SIGINT}
        executor.submit(time.sleep, 600)
        raise KeyboardInterrupt
    assert not multiprocessing.active_children() and time.monotonic() - began < 300


def test_preparation_and_evaluation_go_on_after_a_termination(run, tmp_path: Path) -> None:
    for person in range(3):
        for kind, file in (("audios", SPEECH), ("images", PHOTO)):
            folder = tmp_path / "ds" / f"p{person}" / kind
            folder.mkdir(parents=True)
            for number in range(6):  # all different, by a byte at the end
                (folder / f"{number}{file.suffix}").write_bytes(file.read_bytes() + bytes([person, number]))
    face = ["face.weights=random", "face.model.width=0.05"]
    prepare = ["pipeline=prepare", "data.root=ds", "landmarks=false", "workers=1", *face]
    prepared = tmp_path / "ds" / "prepared"
    said = terminate(prepare, tmp_path, signal.SIGINT, lambda: any(prepared.glob("crops/*")))  # the first of 18 photos
    assert "interrupted; to go on: the same command" in said and not list(prepared.glob("*.parquet"))
    assert "3 people" in run(*prepare).stderr
    evaluate = [
        "pipeline=evaluate",
        "data.root=ds",
        "split=all",
        "cache=cache",
        "workers=1",
        "samples=20",
        "pictures=2",
    ]
    evaluate += [*TINY_AST, *face]
    shutil.rmtree(tmp_path / "out")
    said = terminate(evaluate, tmp_path, signal.SIGTERM, lambda: any(tmp_path.glob("cache/**/*.*")))
    assert "interrupted; to go on: the same command, which encodes nothing twice" in said
    assert "3 people" in run(*evaluate, "hydra.run.dir=again").stderr
    assert record(tmp_path / "again")["status"] == "finished"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_termination_is_recorded_and_resumed(run, tmp_path: Path, number: signal.Signals) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for clip in range(60):
        shutil.copy(SPEECH, clips / f"{clip:02}.wav")
    command = ["audio=clips", *TINY_PAPER]
    table = tmp_path / "out" / "results.csv"
    said = terminate(command, tmp_path, number, lambda: table.exists() and len(table.read_bytes().splitlines()) > 3)
    assert "interrupted; to go on: the same command with resume=" in said
    with open(table, newline="") as file:
        done = len(list(csv.DictReader(file)))
    assert 3 <= done < 60
    run(*command, "resume=out")
    assert record(tmp_path / "out")["counts"] == {"done": 60, "kept": done, "failed": 0, "passed_over": 0}


# Names


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("audio=2024_05_01", "audio='2024_05_01'"),
        ("audio=[2024_05_01, clips,1e5]", "audio=['2024_05_01', clips,'1e5']"),
        ("audio=2024_05_01,1e5", "audio='2024_05_01','1e5'"),  # a sweep
        ("data.root=0x", "data.root=0x"),
        ("+data.names=1_000.5", "+data.names='1_000.5'"),
        ("hydra.run.dir=2024_06_01", "hydra.run.dir='2024_06_01'"),
        ("hydra.sweep.subdir=1e5", "hydra.sweep.subdir='1e5'"),
        ("training.cache=007", "training.cache='007'"),
        ("average=[nan,-inf,true]", "average=['nan','-inf','true']"),
        ("face.weights=12", "face.weights='12'"),
        ("audio='a, 12 ]'", "audio='a, 12 ]'"),
        ("audio=['1,2',\"3\"]", "audio=['1,2',\"3\"]"),
        ("audio=null", "audio=null"),
        ("seed=1_000", "seed=1_000"),
        ("resume=2024_05_01", "resume='2024_05_01'"),
    ],
)
def test_names_of_files_stay_text(typed: str, meant: str) -> None:
    assert canonical(typed) == meant


def test_directories_named_like_numbers(run, tmp_path: Path) -> None:
    for name in ("2024_05_01", "1e5"):
        (tmp_path / name).mkdir()
        shutil.copy(EXAMPLES / "alsa_female.flac", tmp_path / name)
    run("audio=[2024_05_01,1e5]", *TINY_AST, "hydra.run.dir=2024_06_01")
    assert record(tmp_path / "2024_06_01")["counts"]["done"] == 2
    said = run("pipeline=train_face", "data.root=2024_05_02", status=1)
    assert "data.root=2024_05_02: no such directory" in error_of(said)


ODD = [
    "a%d",
    'it\'s "quoted"',
    "a\nb",
    "é 日本",
    "${ird}/a",
    "\\${x}",
    "a\\",
    "1e5",
    "# x",
    "- a: b",
    "\udcff",
    "~",
    "null",
]


@pytest.mark.parametrize("name", ODD)
def test_any_name_survives_in_the_frozen_configuration(name: str, tmp_path: Path) -> None:
    options = dataclasses.replace(options_of("audio=x"), audio=[name])
    (tmp_path / "effective.yaml").write_text(freeze(options), encoding="utf-8")
    loaded = OmegaConf.to_container(OmegaConf.load(tmp_path / "effective.yaml"), resolve=True)
    assert loaded["audio"] == [name]


def test_a_directory_whose_name_is_an_interpolation(run, tmp_path: Path) -> None:
    inside = tmp_path / "${ird}"
    inside.mkdir()
    shutil.copy(EXAMPLES / "alsa_female.flac", inside / "a%'b.flac")
    run("audio='\\${ird}'", *TINY_AST, "hydra.run.dir=one")
    run('audio="a%\'b.flac"', *TINY_AST, f"hydra.run.dir={tmp_path}/two", cwd=inside)
    for first, again in (("one", "three"), ("two", "four")):
        run("-cd", f"{first}/.hydra", "-cn", "effective", f"hydra.run.dir={again}")
        assert (tmp_path / again / "a%'b" / "face.png").exists()
    said = error_of(run('audio="a%\'b.flac"', *TINY_AST, "hydra.run.dir=out", cwd=inside, status=1))
    assert "${ird}/out: Hydra cannot write below a name that contains ${" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["audio='a${x}.wav'", "hydra.run.dir=out"], "audio: Interpolation key 'x' not found"),
        (["audio='a${x:y}.wav'", "hydra.run.dir=out"], "audio: Unsupported interpolation type x"),
        (["audio=a${x.wav"], "${ is written \\${"),
        (["audio", "examples"], "audio: an option is name=value, as in audio=examples"),
        (["encoder", "ast", f"audio={SPEECH}"], "as in encoder=ast"),
        (["--audio", "clip.wav"], "--audio: an option is name=value, as in audio=clip.wav"),
        (["--encoder=paper", "audio=é.wav"], "as in encoder=paper"),
        (["--cfg", "all of it"], "--help"),
        (["clip.wav"], "an input is given by audio=clip.wav"),
        (["pipeline=face", "x.jpg"], "an input is given by image=x.jpg"),
        (["audio=é (1).wav"], "audio=é (1).wav: no such file"),
        (["audio=[a;b=c.wav]"], "audio=a;b=c.wav: no such file"),
        ([str(PHOTO)], f"an input is given by pipeline=face image={PHOTO}"),
        (["pipeline=face", str(PHOTO)], f"an input is given by image={PHOTO}"),
        ([f"audio={SPEECH}", f"image={PHOTO}"], "image: pipeline=speech has no such option; pipeline=face has it"),
        (["pipeline=face", f"image={PHOTO}", f"audio={SPEECH}"], "audio: pipeline=face has no such option"),
        (["training.lr=1"], "training.lr: pipeline=speech has no such option"),
        ([*ONE, "hydra.run.dir=/proc/nowhere"], "/proc/nowhere: "),
        (["-m", *ONE, "hydra.sweep.dir=/proc/nowhere"], "/proc/nowhere: "),
    ],
)
def test_a_mistake_is_told_in_one_line(run, arguments: list[str], message: str) -> None:
    said = error_of(run(*arguments, status=1))
    assert message in said and ("${" not in arguments[0] or "\\${" in said)


def test_a_locale_that_cannot_express_names(run, tmp_path: Path) -> None:
    clips = tmp_path / "names"
    clips.mkdir()
    for name in ("é", "日本", "b", os.fsdecode(b"\xff")):
        shutil.copy(EXAMPLES / "alsa_female.flac", clips / f"{name}.flac")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    run("audio=names", *TINY_AST, "hydra.run.dir='ö'", env=plain, real=True)
    out = tmp_path / "ö"
    assert record(out)["counts"]["done"] == 4 and (out / "contact_sheet.png").exists()
    assert (out / "é" / "panel.png").exists() and "4 done: " in (out / "run.log").read_text(encoding="utf-8")
    missing = run("audio='é.wav'", *TINY_AST, "hydra.run.dir=missing", env=plain, real=True, status=1)
    assert "audio=é.wav: no such file" in error_of(missing)


# Settings of Hydra


def test_relative_paths_are_those_of_the_command_where_hydra_changes_the_directory(run, tmp_path: Path) -> None:
    shutil.copy(SPEECH, tmp_path / "a.wav")
    command = ["audio=a.wav", *TINY_AST, "hydra.job.chdir=true"]
    run(*command, "hydra.run.dir=out")
    run(*command, "resume=out")
    assert record(tmp_path / "out")["counts"]["kept"] == 1
    assert record(tmp_path / "out")["working_directory"] == str(tmp_path)
    run("pipeline=convert", "encoder=ast_tiny", "encoder.model.depth=1", "encoder.weights=random", "hydra.run.dir=w")
    run("-m", "audio=a.wav", "encoder=ast_tiny", "encoder.weights=w", *TINY[1:], "seed=0,1", "hydra.job.chdir=true",
        "hydra.sweep.dir=sweep")  # fmt: skip
    assert len((tmp_path / "sweep" / "comparison.csv").read_text().splitlines()) == 2


def test_resume_null_is_like_leaving_it_out(run, tmp_path: Path) -> None:
    run(*ONE, "resume=null")
    (out,) = (tmp_path / "outputs" / "speech").glob("*/*")
    assert record(out)["status"] == "finished"
    run("-m", *ONE, "resume=null", "hydra.sweep.dir=sweep")


def test_another_pipeline_is_not_resumed(run, tmp_path: Path) -> None:
    run(*ONE, "hydra.run.dir=out")
    said = error_of(run("pipeline=face", f"image={PHOTO}", "resume=out", status=1))
    assert said == "error: resume=out: a run of pipeline=speech, not of face"


@pytest.mark.parametrize("choice", ["disabled", "stdout", "none"])
def test_hydras_own_logs_can_be_chosen(run, tmp_path: Path, choice: str) -> None:
    result = run(*ONE, f"hydra/job_logging={choice}", "hydra.run.dir=out")
    assert ("1 done" in result.stdout) is (choice == "stdout") or choice == "none"
    assert "1 done" not in result.stderr or choice == "none"
    assert not (tmp_path / "out" / "run.log").exists() and record(tmp_path / "out")["status"] == "finished"
    said = run("audio=nowhere.wav", f"hydra/job_logging={choice}", status=1)
    assert "error: audio=nowhere.wav: no such file" in said.stdout + said.stderr


def test_sweeps_that_hydra_keeps_no_configuration_of(run, tmp_path: Path) -> None:
    result = run("-m", *ONE, "seed=0,1", "hydra.output_subdir=null", "hydra.sweep.dir=sweep")
    assert "Warning" not in result.stderr
    assert (tmp_path / "sweep" / "comparison.csv").read_text().startswith("input,seed=0,seed=1,")
    (tmp_path / "weights").mkdir()
    run("pipeline=convert", "encoder=ast_tiny", "encoder.model.depth=1", "encoder.weights=random",
        "hydra.run.dir=weights/ast_tiny")  # fmt: skip
    chosen = ["encoder.weights='weights/${choices.encoder}'", *TINY[1:]]
    result = run("-m", f"audio={SPEECH}", "encoder=ast_tiny,paper", *chosen, "hydra.sweep.dir=two", status=1)
    assert "Warning" not in result.stderr and "2 jobs, 1 failed: " in result.stdout
    table = (tmp_path / "two" / "comparison.csv").read_text()
    assert "encoder=ast_tiny,encoder=paper" in table and "weights/paper: no such file" in table


def test_a_full_disk_names_a_way_out_that_works(run, tmp_path: Path) -> None:
    command = ["pipeline=convert", "encoder=ast_tiny", "encoder.model.depth=1", "encoder.weights=random"]
    limited = f"ulimit -f 100; exec {sys.executable} {ROOT / 'run.py'} {' '.join(command)} hydra.run.dir=full"
    done = subprocess.run(["bash", "-c", limited], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1 and "to go on: the same command with another hydra.run.dir=" in done.stderr
    assert "resume" not in done.stderr and "Traceback" not in done.stderr
    said = error_of(run(*command, "hydra.run.dir=full", status=1))
    assert said == "error: full holds a run already: give another directory"
    run(*command, "hydra.run.dir=other")


def test_an_interrupt_that_python_drops_is_raised_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Dropped:  # its exception is ignored
        def __del__(self) -> None:
            process._interrupt(signal.SIGTERM, None)

    monkeypatch.setattr(process, "terminated_by", None)
    process.raise_lost_interrupt()  # nothing was received
    monkeypatch.setattr("sys.unraisablehook", lambda _: None)
    Dropped()
    with pytest.raises(KeyboardInterrupt):
        process.raise_lost_interrupt()
