"""Runs of many inputs: what is written of each, one table of embeddings, and shards that several processes share."""

import csv
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import EXAMPLES, GOLDENS, SPEECH, TINY_AST, start_py

TABLE = ["input", "sha256", "embedding"]
COMMAND = ["audio=clips", *TINY_AST, "preprocessing.window_seconds=1"]


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Four recordings of three contents, and a file that is none."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("a", "b"):
        shutil.copy(SPEECH, folder / f"{name}.wav")
    shutil.copy(EXAMPLES / "alsa_female.flac", folder / "c.flac")
    shutil.copy(GOLDENS / "short.wav", folder / "d.wav")
    (folder / "bad.wav").write_bytes(b"no sound")
    return folder


def rows(run: Path) -> list[dict[str, str]]:
    """The rows of results.csv, without the time that they took."""
    with open(run / "results.csv", newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def files(run: Path) -> set[str]:
    """The files of a run, but for its record and log."""
    found = {str(one.relative_to(run)) for one in run.rglob("*") if one.is_file() and ".hydra" not in one.parts}
    return found - {"run.json", "run.log", "results.csv"}


def test_what_is_written_is_chosen(run, tmp_path: Path, clips: Path) -> None:
    """The table of embeddings alone has the numbers of the run that writes everything."""
    run(*COMMAND, "hydra.run.dir=all", status=1)
    run(*COMMAND, "write=embeddings", "decoder.weights=not_there.pt", "hydra.run.dir=table", status=1)  # loads none
    run(*COMMAND, "write=[faces,panels]", "hydra.run.dir=pictures", status=1)
    assert files(tmp_path / "table") == {"embeddings.parquet"}
    assert rows(tmp_path / "table") == rows(tmp_path / "all")
    found, everything = (pq.read_table(tmp_path / one / "embeddings.parquet") for one in ("table", "all"))
    assert found.equals(everything) and found.num_rows == 4
    for row in found.to_pylist():
        own = np.load(tmp_path / "all" / Path(row["input"]).stem / "embedding.npy")
        np.testing.assert_array_equal(np.float32(row["embedding"]), own)
    pictures = {name for name in files(tmp_path / "all") if not name.endswith(("embedding.npy", ".parquet"))}
    assert files(tmp_path / "pictures") == pictures
    for name in pictures:
        assert (tmp_path / "pictures" / name).read_bytes() == (tmp_path / "all" / name).read_bytes()
    assert "has another write" in run(*COMMAND, "write=panels", "resume=pictures", status=1).stderr


def test_a_table_of_embeddings_is_resumed_and_compared(run, tmp_path: Path, clips: Path) -> None:
    """A killed run keeps what it has added; a run that has ended takes a changed and a new file."""
    command = [*COMMAND, "write=embeddings"]
    for number in range(20):
        (clips / f"{number:02}.wav").write_bytes(SPEECH.read_bytes()[: -(2 * number + 2)])
    process = start_py(*command, "hydra.run.dir=out", cwd=tmp_path)
    while not ((tmp_path / "out" / "results.csv").exists() and len(rows(tmp_path / "out")) >= 3):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    before = len([row for row in rows(tmp_path / "out") if row["status"] == "done"])
    assert 3 <= before < 24 and not (tmp_path / "out" / "embeddings.parquet").exists()
    run(*command, "resume=out", status=1)
    assert files(tmp_path / "out") == {"embeddings.parquet"}
    shutil.copy(EXAMPLES / "alsa_female.flac", clips / "a.wav")
    (clips / "bad.wav").unlink()
    assert "24 done (23 of them before)" in run(*command, "resume=out").stderr
    run("-m", *command, "seed=0,1", "hydra.sweep.dir=sweep")
    one, other, out = (pq.read_table(tmp_path / name / "embeddings.parquet") for name in ("sweep/0", "sweep/1", "out"))
    assert out.sort_by("input").equals(one.sort_by("input")) and out.num_rows == 24
    with open(tmp_path / "sweep" / "comparison.csv", newline="") as file:
        compared = {row["input"]: row["cosine seed=1"] for row in csv.DictReader(file)}
    for a, b in zip(one.to_pylist(), other.to_pylist(), strict=True):
        x, y = np.float64(a["embedding"]), np.float64(b["embedding"])
        assert float(compared[a["input"]]) == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), abs=1e-4)
