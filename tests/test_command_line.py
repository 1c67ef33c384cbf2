"""The command line as typed: what runs, what they write, how they fail, stop, resume, repeat and compare."""

import csv
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import (
    EXAMPLES,
    PHOTO,
    ROOT,
    SPEECH,
    TINY,
    TINY_AST,
    TINY_PAPER,
    start_py,
    tone,
    transformers_ast,
    write_audio,
    write_video,
)
from PIL import Image

ALONE = ["hydra.run.dir=out"]


def rows(directory: Path) -> list[dict[str, str]]:
    with open(directory / "results.csv", newline="", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def record(directory: Path) -> dict:
    return json.loads((directory / "run.json").read_text())


def leftovers(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if "partial" in path.name]


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Good, short, silent, corrupt, video and non-audio files."""
    directory = tmp_path / "my clips"
    (directory / "sub").mkdir(parents=True)
    shutil.copy(SPEECH, directory / "good.wav")
    shutil.copy(EXAMPLES / "alsa_female.flac", directory / "sub" / "good.flac")
    write_audio(directory / "short.opus", tone(0.5, 48_000), 48_000, "libopus")
    write_audio(directory / "silent.wav", np.zeros(16_000), 16_000, "pcm_s16le")
    (directory / "corrupt.mp3").write_bytes(np.random.default_rng(0).bytes(20_000))
    write_video(directory / "vidéo (1).mp4", tone(1, 44_100))
    write_video(directory / "mute.mp4", None)
    (directory / "notes.wav").write_text("these are notes")
    (directory / "notes.txt").write_text("these are notes")
    return directory


def test_one_clip(run, tmp_path: Path) -> None:
    result = run("pipeline=speech", f"audio={SPEECH}", *TINY_AST, real=True)
    (directory,) = tmp_path.glob("outputs/speech/*/*")
    assert str(directory) in result.stderr and "UNTRAINED" in result.stderr
    time.strptime(f"{directory.parent.name} {directory.name}", "%Y-%m-%d %H-%M-%S-%f")
    found = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    assert found == {
        ".hydra/config.yaml",
        ".hydra/effective.yaml",
        ".hydra/hydra.yaml",
        ".hydra/overrides.yaml",
        "run.log",
        "run.json",
        "results.csv",
        "embeddings.parquet",
        "librivox_male/face.png",
        "librivox_male/embedding.npy",
        "librivox_male/landmarks.csv",
        "librivox_male/panel.png",
    }
    (row,) = rows(directory)
    digest = subprocess.run(["sha256sum", SPEECH], capture_output=True, text=True, check=True).stdout.split()[0]
    assert (row["input"], row["sha256"], row["status"], row["error"]) == (str(SPEECH), digest, "done", "")
    assert row["output"] == "librivox_male" and float(row["seconds"]) > 0
    assert float(row["audio_seconds"]) == pytest.approx(7.1, abs=0.01) and row["windows"] == "1"
    said = record(directory)
    assert said["status"] == "finished" and said["counts"] == {"done": 1, "kept": 0, "failed": 0, "passed_over": 0}
    assert said["command"][1:] == ["pipeline=speech", f"audio={SPEECH}", *TINY_AST]
    assert said["weights"]["encoder"]["untrained"] and said["device"] and said["seed"] == 0
    assert {"import", "load", "preprocess", "encode", "decode", "write", "total"} <= said["seconds"].keys()
    assert said["versions"].keys() >= {"torch", "numpy", "av"} and len(said["git"]["commit"]) == 40
    folder = directory / "librivox_male"
    face = Image.open(folder / "face.png")
    assert (face.size, face.mode) == ((224, 224), "RGB")
    text = " ".join(face.text.values())
    assert "Synthetic" in text and digest in text and "random" in text and "UNTRAINED" in text
    assert tuple(np.asarray(face)[-3, 3]) == (179, 38, 30)  # the band that marks it
    embedding = np.load(folder / "embedding.npy")
    assert embedding.shape == (4096,) and embedding.dtype == np.float32
    table = (folder / "landmarks.csv").read_text().splitlines()
    assert table[0] == "part,x,y" and len(table) == 73
    assert [line.split(",")[0] for line in table[1:]][:18] == ["chin"] * 17 + ["left_brow"]
    assert Image.open(folder / "panel.png").width > 1000


def test_sweep_over_good_and_bad_files(run, tmp_path: Path, clips: Path) -> None:
    command = ["-m", "encoder=ast_small,ast_tiny", f"audio={clips}", *TINY, "hydra.sweep.dir=sweep"]
    result = run(*command, status=1)
    sweep = tmp_path / "sweep"
    expected = {
        "corrupt.mp3": ("failed", "not audio that FFmpeg can read"),
        "good.wav": ("done", ""),
        "mute.mp4": ("failed", "there is no audio in it"),
        "notes.txt": ("passed_over", "passed over: text/plain by its name"),
        "notes.wav": ("failed", "not audio that FFmpeg can read"),
        "short.opus": ("done", ""),
        "silent.wav": ("failed", "silent (level -inf dBFS, below -80)"),
        "sub/good.flac": ("done", ""),
        "vidéo (1).mp4": ("done", ""),
    }
    for job in ("0", "1"):
        table = rows(sweep / job)
        assert {os.path.relpath(row["input"], clips): (row["status"], row["error"]) for row in table} == expected
        outputs = [row["output"] for row in table if row["status"] == "done"]
        assert outputs == ["my clips/good", "short", "sub/good", "vidéo (1)"]
        assert all((sweep / job / output / "face.png").exists() for output in outputs)
        assert (sweep / job / "contact_sheet.png").exists()
        assert record(sweep / job)["counts"] == {"done": 4, "kept": 0, "failed": 4, "passed_over": 1}
    with open(sweep / "comparison.csv", newline="") as file:
        comparison = {os.path.relpath(row["input"], clips): row for row in csv.DictReader(file)}
    assert comparison.keys() == expected.keys()
    good, bad = comparison["good.wav"], comparison["silent.wav"]
    assert good["encoder=ast_small"] == good["encoder=ast_tiny"] == "done"
    assert bad["encoder=ast_small"].startswith("failed: silent")
    a, b = (np.load(sweep / job / "my clips" / "good" / "embedding.npy") for job in ("0", "1"))
    assert float(good["cosine encoder=ast_tiny"]) == pytest.approx(
        a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-3
    )
    assert Image.open(sweep / "comparison.png").height > 4 * 168
    assert "Traceback" not in result.stdout + result.stderr
    assert not leftovers(sweep)


def test_a_failing_job_leaves_the_others_and_is_marked(run, tmp_path: Path) -> None:
    run("-m", "encoder=ast_tiny,vgg_face", f"audio={SPEECH}", *TINY, "hydra.sweep.dir=sweep", status=1)
    sweep = tmp_path / "sweep"
    assert record(sweep / "0")["status"] == "finished"
    assert record(sweep / "1")["error"].startswith(
        "encoder=vgg_face takes a photo, but pipeline=speech gives it a voice"
    )
    comparison = (sweep / "comparison.csv").read_text()
    assert "done" in comparison and "job failed: encoder=vgg_face takes a photo" in comparison


def test_what_a_run_prints(run, tmp_path: Path) -> None:
    """What runs, what it found, and last the path of the picture to look at."""
    (tmp_path / "files").mkdir()
    for name in ("librivox_male.wav", "alsa_female.flac", "astronaut.png", "notebook.ipynb"):
        (tmp_path / "files" / name).symlink_to(EXAMPLES / name)
    lines = run(f"audio={SPEECH}", "hydra.run.dir=one").stderr.splitlines()
    assert lines[0] == "encoder ge2e: bundled; decoder appearance: bundled"
    assert lines[1].startswith(f"{SPEECH}: male (")
    assert lines[2:] == [f"1 done: {tmp_path}/one/librivox_male/panel.png"]
    assert "DEBUG front end: {" in (tmp_path / "one" / "run.log").read_text()
    lines = run("audio=files", "hydra.run.dir=two").stderr.splitlines()
    assert "found 2 inputs and 2 other files" in lines
    assert lines[-1] == f"2 done, 2 passed over: {tmp_path}/two/contact_sheet.png"
    again = run("audio=files", "resume=two").stderr.splitlines()[-1]
    assert again == f"2 done (2 of them before), 2 passed over: {tmp_path}/two/contact_sheet.png"


def test_lines_of_a_sweep_begin_with_the_number_of_their_job(run, tmp_path: Path) -> None:
    """And flags may stand behind options."""
    result = run(f"audio={SPEECH}", "encoder=ge2e,ast", "-m", "hydra.sweep.dir=sweep")
    assert [line[:4] for line in result.stderr.splitlines()] == ["[0] "] * 3 + ["[1] "] * 3
    assert result.stdout.splitlines()[-1] == f"2 jobs: {tmp_path}/sweep/comparison.png"


MISTAKES = [
    ([], "pipeline=speech needs audio="),
    (["audio=nowhere.wav"], "audio=nowhere.wav: no such file"),
    (["encoder=ast_tiny", f"audio={SPEECH}"], "encoder=ast_tiny has no weights: give encoder.weights="),
    ([f"audio={SPEECH}", "encoder.weights=nowhere.pt"], "encoder.weights=nowhere.pt: no such file"),
    ([f"audio={SPEECH}", "encoder.weights=x.onnx"], "encoder.weights=x.onnx: no such file"),
    ([f"audio={SPEECH}", "encoder=vgg_face"], "those that fit: ast, ast_small, ast_tiny, ecapa, ge2e, paper, wavlm"),
    (["pipeline=face", f"image={PHOTO}", "encoder=ast"], "those that fit: dlib, resnet, vgg_face"),
    (["encoder=nosuch"], "Available options in 'encoder': ast ast_small"),
    (["encoder.weight=a.pt"], "encoder.weight: there is no such option; did you mean encoder.weights?"),
    (["preprocessing.window=3"], "did you mean preprocessing.window_seconds, preprocessing.windows?"),
    (["encoder=null"], "encoder=null: one of the group must be chosen"),
    (["pipeline=evaluate", "clips=0"], "clips=0: must be a whole number, at least 1"),
    (["pipeline=convert", "slim=maybe"], "slim=maybe: must be true or false"),
    (["+nosuch=1"], "nosuch: there is no such option"),
    (["batch_size=many"], "batch_size=many: must be a whole number, at least 1"),
    ([str(SPEECH)], f"an input is given by audio={SPEECH}"),
    (["audio=clip (1).wav"], "quotes inside quotes"),
    (["resume=nowhere"], "resume=nowhere: no run there"),
    (
        [f"audio={SPEECH}", *TINY_AST, "preprocessing.windows=0"],
        "preprocessing.windows=0: must be a whole number, at least 1",
    ),
    ([f"audio={SPEECH}", *TINY_AST, "precision=fp8"], "precision=fp8: must be one of"),
    ([f"audio={SPEECH}", *TINY_AST, "device=tpu"], "device=tpu: must be"),
    (
        [f"audio={SPEECH}", *TINY_AST, "preprocessing=image"],
        "preprocessing: Image takes a photo, but encoder=ast_tiny takes a voice",
    ),
    ([f"audio={SPEECH}", *TINY_AST, "encoder.model.depth=x"], "cannot be built so"),
    ([f"audio={SPEECH}", *TINY_AST, "seed=abc"], "seed=abc: must be a whole number"),
    (["audio=123"], "audio=123: no such file"),
    (["audio=2024_05_01"], "audio=2024_05_01: no such file"),
    (["audio=" + "x" * 300], "no such file"),
    ([f"audio={SPEECH}", "hydra.run.dir=/dev/null/x"], "/dev/null/x"),
    (["-m", f"audio={SPEECH}", *TINY_AST, "resume=x"], "resume=x: no sweep there to go on with"),
    (["--encoder", "ast"], "--encoder: an option is name=value, as in encoder=ast"),
    (["audio", "examples"], "audio: an option is name=value, as in audio=examples"),
    ([f"audio={SPEECH}", "debug=fast"], "debug=fast sets trainer: pipeline=speech has no such option; pipeline=train_"),
    ([f"audio={SPEECH}", f"image={PHOTO}"], "image: pipeline=speech has no such option; pipeline=face has it"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_a_mistake_is_one_line(run, arguments: list[str], message: str) -> None:
    result = run(*arguments, status=1, real=not arguments)
    lines = [line for line in (result.stdout + result.stderr).splitlines() if line.strip()]
    (error,) = [line for line in lines if line.startswith("error: ")]
    assert message in error
    assert lines[-1] == error and "Traceback" not in result.stdout + result.stderr


@pytest.mark.parametrize(("pipeline", "why"), [("convert", "has nothing to resume"), ("prepare", "needs no resume: ")])
def test_what_cannot_be_resumed_says_why(run, tmp_path: Path, pipeline: str, why: str) -> None:
    (tmp_path / "run.json").write_text("{}")
    result = run(f"pipeline={pipeline}", "resume=.", status=1)
    assert f"error: pipeline={pipeline} {why}" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.skipif(bool(find_spec("hydra_plugins.hydra_ray_launcher")), reason="the extra cluster is installed")
def test_a_launcher_that_is_not_installed_is_one_line(run) -> None:
    result = run("-m", f"audio={SPEECH}", "hydra/launcher=ray", status=1)
    assert "error: hydra/launcher=ray needs its package: pip install -e" in result.stderr


def test_a_dry_run_shows_what_would_run_and_leaves_nothing(run, tmp_path: Path) -> None:
    """The options that it prints are those that a run keeps: with the architecture and the front end of the weights."""
    command = [f"audio={SPEECH}", "encoder=ast", "preprocessing.windows=2", *ALONE]
    shown = yaml.safe_load(run(*command, "--dry-run").stdout)
    assert not any(tmp_path.iterdir())
    run(*command)
    kept = yaml.safe_load((tmp_path / "out" / ".hydra" / "effective.yaml").read_text())
    assert shown["encoder"] == kept["encoder"] and shown["decoder"] == kept["decoder"]
    assert (shown["encoder"]["model"]["depth"], shown["encoder"]["preprocessing"]["windows"]) == (4, 2)


def test_two_identical_commands_give_identical_bytes(run, tmp_path: Path) -> None:
    for directory in ("a", "b"):
        run(f"audio={SPEECH}", *TINY_PAPER, f"hydra.run.dir={directory}", real=directory == "b")
    for name in ("face.png", "embedding.npy", "landmarks.csv", "panel.png"):
        a, b = ((tmp_path / one / "librivox_male" / name).read_bytes() for one in ("a", "b"))
        assert a == b


def test_a_run_is_repeated_from_its_own_directory_alone(run, tmp_path: Path) -> None:
    """Weights that bring a front end, settings that win over them, and another working directory."""
    transformers_ast().save_pretrained(tmp_path / "ast")
    shutil.copy(SPEECH, tmp_path / "a.wav")
    won = ["encoder.model.relu=false", "preprocessing.windows=2", "preprocessing.features.mean=-4"]
    run(
        "encoder=ast", "audio=a.wav", "encoder.weights=ast", "decoder=normalized",
        "decoder.weights=random", "decoder.model.width=0.02",
        *won, "seed=5", *ALONE,
    )  # fmt: skip
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run("-cd", tmp_path / "out" / ".hydra", "-cn", "effective", "hydra.run.dir=again", cwd=elsewhere)
    for name in ("face.png", "embedding.npy", "panel.png"):
        assert (tmp_path / "out" / "a" / name).read_bytes() == (elsewhere / "again" / "a" / name).read_bytes()
    assert (np.load(elsewhere / "again" / "a" / "embedding.npy") < 0).any()  # encoder.model.relu=false held
    settings = [
        yaml.safe_load((d / ".hydra" / "effective.yaml").read_text()) for d in (tmp_path / "out", elsewhere / "again")
    ]
    assert settings[0] == settings[1]


def test_a_directory_that_holds_a_run_is_left_alone(run, tmp_path: Path) -> None:
    run(f"audio={SPEECH}", *TINY_AST, *ALONE)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    result = run(f"audio={EXAMPLES}/alsa_female.flac", *TINY_AST, *ALONE, status=1)
    assert "out holds a run already" in result.stderr
    assert before == {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}


def test_of_two_runs_at_once_one_takes_the_directory(tmp_path: Path) -> None:
    command = [f"audio={SPEECH}", *TINY_AST, *ALONE]
    both = [start_py(*command, f"seed={seed}", cwd=tmp_path) for seed in (1, 2)]
    outputs = ["".join(process.communicate()) for process in both]
    assert sorted(process.returncode for process in both) == [0, 1], outputs
    assert sum("holds a run already" in output for output in outputs) == 1
    assert len(rows(tmp_path / "out")) == 1
    # and what is said of it there is all of the same run
    overrides = yaml.safe_load((tmp_path / "out" / ".hydra" / "overrides.yaml").read_text())
    assert overrides == record(tmp_path / "out")["overrides"]


def test_a_run_that_is_written_is_not_resumed_beside(run, tmp_path: Path) -> None:
    run(f"audio={SPEECH}", *TINY_AST, *ALONE)
    descriptor = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)  # as a run does
    assert "another run is writing there" in run(f"audio={SPEECH}", *TINY_AST, "resume=out", status=1).stderr
    os.close(descriptor)


def test_resume_does_what_is_missing_and_no_more(run, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("a", "b", "c"):
        shutil.copy(SPEECH, clips / f"{name}.wav")
    (clips / "d.wav").write_text("not audio")
    command = ["audio=clips", *TINY_AST]
    run(*command, *ALONE, status=1)
    out = tmp_path / "out"
    kept = (out / "a" / "face.png").stat().st_mtime_ns
    (out / "b" / "panel.png").unlink()  # as if it had been interrupted there
    shutil.copy(EXAMPLES / "alsa_female.flac", clips / "c.wav")  # changed since
    shutil.copy(SPEECH, clips / "d.wav")  # mended
    run(*command, "resume=out")
    assert {row["input"]: row["status"] for row in rows(out)} == {f"clips/{name}.wav": "done" for name in "abcd"}
    assert record(out)["counts"] == {"done": 4, "kept": 1, "failed": 0, "passed_over": 0}
    assert (out / "a" / "face.png").stat().st_mtime_ns == kept
    changed = {row["input"]: row["sha256"] for row in rows(out)}
    assert changed["clips/c.wav"] != changed["clips/a.wav"] == changed["clips/d.wav"]
    run("audio=clips/a.wav", *TINY_AST, "resume=out")  # fewer inputs: the rows of the others stay
    assert len(rows(out)) == 4
    (tmp_path / "a.wav").write_bytes((EXAMPLES / "alsa_female.flac").read_bytes())
    run("audio=a.wav", *TINY_AST, "resume=out")  # another file of the same name is not what was done
    assert {row["input"]: row["sha256"] for row in rows(out)}["a.wav"] == changed["clips/c.wav"]
    before = (out / "run.json").read_bytes()
    assert "another encoder" in run("audio=clips", *TINY_PAPER, "resume=out", status=1).stderr
    assert (out / "run.json").read_bytes() == before  # with which weights the faces there were made


def test_control_c_leaves_whole_files_and_a_run_to_resume(run, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for number in range(60):
        shutil.copy(SPEECH, clips / f"{number:02}.wav")
    process = start_py("audio=clips", *TINY_PAPER, *ALONE, cwd=tmp_path)
    out = tmp_path / "out"
    while not ((out / "results.csv").exists() and len(rows(out)) >= 3) and process.poll() is None:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    output = "".join(process.communicate())
    assert process.returncode == 130 and "Traceback" not in output
    assert "resume=" in output and record(out)["status"] == "interrupted"
    done = rows(out)
    assert 3 <= len(done) < 60 and not leftovers(out)
    for row in done:
        assert np.load(out / row["output"] / "embedding.npy").shape == (4096,)
        Image.open(out / row["output"] / "panel.png").load()
    run("audio=clips", *TINY_PAPER, "resume=out")
    assert len(rows(out)) == 60 and record(out)["counts"]["kept"] == len(done)


def test_batches_windows_and_precisions_agree(run, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for number in range(3):
        write_audio(clips / f"{number}.wav", tone(20 + number, 16_000, 200 + 100 * number), 16_000, "pcm_s16le")
    for name, options in {
        "one": ["precision=fp32"],
        "many": ["precision=fp32", "batch_size=4", "workers=4"],
        "bf16": ["precision=bf16"],
        "windows": ["preprocessing.windows=5", "batch_size=7"],
        "whole": ["preprocessing.window_seconds=null", "batch_size=3"],
    }.items():
        run("audio=clips", *TINY_PAPER, *options, f"hydra.run.dir={name}")

    def embeddings(name: str) -> np.ndarray:
        return np.stack([np.load(tmp_path / name / str(number) / "embedding.npy") for number in range(3)])

    np.testing.assert_allclose(embeddings("many"), embeddings("one"), atol=1e-5)
    np.testing.assert_allclose(embeddings("bf16"), embeddings("one"), atol=0.02)
    assert not np.array_equal(embeddings("bf16"), embeddings("one"))
    # A steady tone sounds the same in every window but for its phase.
    np.testing.assert_allclose(embeddings("windows"), embeddings("one"), atol=0.02)
    assert [row["windows"] for row in rows(tmp_path / "windows")] == ["5"] * 3
    np.testing.assert_allclose(embeddings("whole"), embeddings("one"), atol=0.05)  # clips of different length


def test_names_that_no_one_expects(run, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    names = ["a\nb", "c\rd", "-x", "é'\"; rm", "run.json", "%d", os.fsdecode(b"\xff")]
    for name in names:
        shutil.copy(SPEECH, clips / f"{name}.wav")
    run("audio=clips", *TINY_AST, *ALONE)
    outputs = {row["output"] for row in rows(tmp_path / "out")}
    assert outputs == {*names, "run.json.wav"} - {"run.json"}
    assert all((tmp_path / "out" / output / "panel.png").exists() for output in outputs)
    run("audio=clips", *TINY_AST, "resume=out")
    assert record(tmp_path / "out")["counts"]["kept"] == len(names)
    run("-m", "audio=clips", *TINY_AST, "hydra.sweep.dir=sweep")
    with open(tmp_path / "sweep" / "comparison.csv", newline="", errors="surrogateescape") as file:
        assert {Path(row["input"]).stem for row in csv.DictReader(file)} == set(names)


def test_face_to_face(run, tmp_path: Path) -> None:
    shutil.copy(PHOTO, tmp_path / "a.png")
    (tmp_path / "bad.jpg").write_bytes(b"no")
    model = ["encoder=resnet", *TINY]
    result = run("pipeline=face", "image=[a.png,bad.jpg]", *model, *ALONE, status=1)
    good, bad = rows(tmp_path / "out")
    assert good["status"] == "done" and int(good["faces"]) >= 1 and good["crop"].count(" ") == 3
    assert bad["error"] == "not an image that Pillow can read" and "failed: bad.jpg" in result.stderr


def test_convert_and_use_what_it_wrote(run, tmp_path: Path, checkpoints: Path) -> None:
    paper = [
        "encoder=paper",
        f"audio={SPEECH}",
        "decoder=normalized",
        "decoder.weights=random",
        "decoder.model.width=0.02",
    ]
    published = f"encoder.weights={checkpoints}/ve_conv.pt"
    run("pipeline=convert", "encoder=paper", published, "hydra.run.dir=ours")
    run(*paper, published, "precision=fp32", "hydra.run.dir=a")
    run(*paper, "encoder.weights=ours", "precision=fp32", "hydra.run.dir=b")  # brings magnitude and phase with it
    a, b = (np.load(tmp_path / one / "librivox_male" / "embedding.npy") for one in "ab")
    np.testing.assert_allclose(a, b, atol=1e-5)  # the same numbers, differently aligned in memory
    card = json.loads((tmp_path / "ours" / "speech2face.json").read_text())
    assert card["preprocessing"]["features"]["representation"] == "magnitude_phase"
    run(
        "pipeline=convert", "pipeline.part=decoder", f"decoder.weights={checkpoints}/face_decoder.pt", "hydra.run.dir=d"
    )
    assert (tmp_path / "d" / "model.safetensors").stat().st_size > 500e6
    shutil.rmtree(tmp_path / "d")
    shutil.rmtree(tmp_path / "ours")


def test_untrained_weights_stay_marked_when_converted(run, tmp_path: Path) -> None:
    run("pipeline=convert", "encoder=ast_tiny", "encoder.model.depth=1", "encoder.weights=random", "hydra.run.dir=ours")
    (tmp_path / "ours" / "model.safetensors").rename(tmp_path / "mine.safetensors")  # what it is goes with it
    run("encoder=ast_tiny", "encoder.weights=mine.safetensors", f"audio={SPEECH}", *TINY[1:], *ALONE)
    assert record(tmp_path / "out")["weights"]["encoder"]["untrained"]
    assert record(tmp_path / "out")["weights"]["encoder"]["layout"] == "ours"


def test_help_names_every_group_and_option(run) -> None:
    text = run("--help").stdout
    assert text.count("python run.py ") >= 3
    for file in (ROOT / "conf").glob("*/[!_]*.yaml"):
        group, option = file.parent.name, file.stem
        listed = text if group == "pipeline" else text.split(f"({group}=)")[1].split("\n\n")[0]
        assert re.search(rf"(pipeline=|  | ){option}\s", listed), file


def test_help_of_a_pipeline_lists_what_each_slot_takes_once(run) -> None:
    found = {}
    for pipeline in ("speech", "train_voice", "train_decoder"):
        listed = re.findall(r"^  (\S.*?=)(?:  |$)", run(f"pipeline={pipeline}", "--help").stdout, re.MULTILINE)
        found[pipeline] = [name for line in listed for name in line.split(", ")]
        assert len(found[pipeline]) == len(set(found[pipeline])) > 10
        taken = {name for name in found[pipeline] if re.match("(encoder|face|decoder)[.]", name)}
        parts = {"encoder.weights=", "encoder.model=", "encoder.preprocessing=", "decoder.weights=", "decoder.model="}
        voice = {"encoder.init=", "face.weights=", "face.model=", "face.preprocessing="}
        assert taken == (parts | voice if pipeline == "train_voice" else parts)
    assert "resume=" in found["speech"] and "resume=" not in run("pipeline=convert", "--help").stdout


def block(page: str, section: str, language: str) -> str:
    """The first block of code of a section of a page."""
    text = (ROOT / page).read_text().split(f"## {section}\n")[1].split("\n## ")[0]
    return text.split(f"```{language}\n")[1].split("```")[0]


def test_an_encoder_is_added_by_one_module_and_one_yaml(run, tmp_path: Path) -> None:
    """The lines of the README, in a directory of the user's own."""
    module, settings = (block("README.md", "Add an encoder", language) for language in ("python", "yaml"))
    assert len(module.splitlines()) + len(settings.splitlines()) <= 20
    (tmp_path / "mean_voice.py").write_text(module)
    (tmp_path / "conf" / "encoder").mkdir(parents=True)
    (tmp_path / "conf" / "encoder" / "mean_voice.yaml").write_text(settings)
    run("-cd", "conf", "encoder=mean_voice", f"audio={SPEECH}", *TINY, *ALONE,
        env={"PYTHONPATH": str(tmp_path)})  # fmt: skip
    assert rows(tmp_path / "out")[0]["status"] == "done"


def test_an_encoder_from_outside_brings_the_layout_of_its_weights_and_is_trained(run, tmp_path: Path) -> None:
    """The encoder of docs/extending.md: published names, a state dict of its own, training, a logger in one YAML."""
    (tmp_path / "mean_voice.py").write_text(block("docs/extending.md", "An encoder", "python"))
    settings = yaml.safe_load(block("README.md", "Add an encoder", "yaml"))
    settings["model"] = {"_target_": "mean_voice.MeanVoice"}
    for group, name, text in (
        ("encoder", "mean_voice", yaml.safe_dump(settings)),
        ("logger", "second", block("docs/extending.md", "A logger", "yaml")),
    ):
        (tmp_path / "conf" / group).mkdir(parents=True)
        (tmp_path / "conf" / group / f"{name}.yaml").write_text(text)
    published = {"projection.weight": torch.randn(4096, 514), "projection.bias": torch.randn(4096)}
    torch.save(published, tmp_path / "published.pt")
    mine = ["-cd", "conf", "encoder=mean_voice"]
    environment = {"PYTHONPATH": str(tmp_path)}
    result = run(*mine, f"audio={SPEECH}", *TINY[1:], "encoder.weights=published.pt", *ALONE, env=environment)
    assert "mean voice, published" in result.stderr
    assert record(tmp_path / "out")["weights"]["encoder"]["layout"] == "mean voice, published"
    torch.save({"projection.weight": torch.zeros(1)}, tmp_path / "part.pt")
    result = run(*mine, f"audio={SPEECH}", *TINY[1:], "encoder.weights=part.pt", status=1, env=environment)
    assert "looks like mean voice, published, but has no head.bias" in result.stderr
    talkers = ["data=talkers", "data.people=12", "data.clips=1", "data.photos=1", "data.seconds=1.0"]
    run(*mine, "pipeline=train_voice", *talkers, "data.root=people", "logger=[csv,second]", "trainer.max_epochs=1",
        "batch_size=4", "workers=1", "device=cpu", "face.preprocessing.crop=none", "hydra.run.dir=trained",
        "encoder.weights=random", env=environment)  # fmt: skip
    for table in ("logs/metrics.csv", "second/version_0/metrics.csv"):
        assert "val/loss" in (tmp_path / "trained" / table).read_text().splitlines()[0]
    assert not list((tmp_path / "trained").rglob("events.out.tfevents.*"))
    run(*mine, f"audio={SPEECH}", "encoder.weights=trained/weights/best", "hydra.run.dir=used", env=environment)
    assert record(tmp_path / "used")["weights"]["encoder"]["layout"] == "ours"
