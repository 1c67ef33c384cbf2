"""The wheel alone, without a checkout: the command and the Python API, from an empty directory."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, SPEECH


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the installed wheel, on top of the packages of the test environment."""
    home = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", home, ROOT], check=True)
    (wheel,) = home.glob("*.whl")
    subprocess.run([*pip, "install", "-q", "--no-deps", "--target", home / "site", wheel], check=True)
    return home / "site"


def call(installed: Path, directory: Path, *command: object) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(installed)}
    return subprocess.run(list(map(str, command)), cwd=directory, env=environment, capture_output=True, text=True)


def test_the_command_is_run_py_without_a_checkout(installed: Path, tmp_path: Path) -> None:
    command = installed / "bin" / "speech2face"
    said = call(installed, tmp_path, command, f"audio={SPEECH}", "hydra.run.dir=out")
    assert said.returncode == 0, said.stderr
    assert {"face.png", "embedding.npy", "landmarks.csv", "panel.png"} == {
        file.name for file in (tmp_path / "out" / "librivox_male").iterdir()
    }
    call(installed, tmp_path, sys.executable, ROOT / "run.py", f"audio={SPEECH}", "hydra.run.dir=checkout")
    embeddings = [np.load(tmp_path / one / "librivox_male" / "embedding.npy") for one in ("out", "checkout")]
    assert np.array_equal(*embeddings)
    assert call(installed, tmp_path, command, "--version").stdout.startswith("speech2face ")
    assert "encoder=" in call(installed, tmp_path, command, "--help").stdout
    wrong = call(installed, tmp_path, command, "audio=nowhere.wav")
    assert wrong.returncode == 1 and wrong.stderr == "error: audio=nowhere.wav: no such file or directory\n"
    again = call(installed, tmp_path, command, "-cd", "out/.hydra", "-cn", "effective", "hydra.run.dir=again")
    assert again.returncode == 0, again.stderr


def test_the_python_api_needs_no_checkout(installed: Path, tmp_path: Path) -> None:
    program = (
        "import speech2face, pathlib\n"
        "result = speech2face.build('pipeline=speech')(pathlib.Path(__import__('sys').argv[1]))\n"
        "print(speech2face.__file__, result.face.shape, result.embedding.shape)"
    )
    said = call(installed, tmp_path, sys.executable, "-c", program, SPEECH)
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith(str(installed)) and said.stdout.endswith("(224, 224, 3) (4096,)\n")
