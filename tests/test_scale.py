"""Runs of many inputs: what is written of each, one table of embeddings, and shards that several processes share."""

import csv
import json
import os
import shutil
import signal
import time
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import EXAMPLES, SPEECH, TINY_AST, run_py, start_py
from hydra.core.override_parser.overrides_parser import OverridesParser

from speech2face.config.compose import options_of, store_defaults
from speech2face.config.names import quoted
from speech2face.data.parquet import write_embeddings
from speech2face.errors import UserError
from speech2face.pipelines.shards import inputs_of_shard, record_part
from speech2face.run import table
from speech2face.run.inputs import Input
from speech2face.run.record import Run

store_defaults()

COMMAND = ["audio=clips", *TINY_AST, "preprocessing.window_seconds=1"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with recordings in clips/, of which one is none, and the run of one process over them in all/."""
    folder = tmp_path_factory.mktemp("scale")
    (folder / "clips").mkdir()
    for name in ("a", "b"):
        shutil.copy(SPEECH, folder / "clips" / f"{name}.wav")
    shutil.copy(EXAMPLES / "alsa_female.flac", folder / "clips" / "c.flac")
    (folder / "clips" / "bad.wav").write_bytes(b"no sound")
    for number in range(8):
        (folder / "clips" / f"{number:02}.wav").write_bytes(SPEECH.read_bytes()[: -(2 * number + 2)])
    run_py(*COMMAND, "hydra.run.dir=all", cwd=folder, status=1)
    return folder


def rows(run: Path) -> list[dict[str, str]]:
    """The rows of results.csv, without the time that they took."""
    with open(run / "results.csv", newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def files(run: Path) -> set[str]:
    """The files of a run, but for its record and log."""
    found = {str(one.relative_to(run)) for one in run.rglob("*") if one.is_file() and ".hydra" not in one.parts}
    return found - {"run.json", "run.log", "results.csv"}


def same_run(one: Path, other: Path) -> None:
    """Both have the same files and rows, but for the times."""
    assert rows(one) == rows(other) and files(one) == files(other)
    for name in files(one):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_what_is_written_is_chosen(home: Path) -> None:
    """The table of embeddings alone has the numbers of the run that writes everything."""
    run = partial(run_py, *COMMAND, cwd=home, status=1)
    run("write=embeddings", "decoder.weights=not_there.pt", "hydra.run.dir=table")  # loads no decoder
    run("write=[panels,faces]", "hydra.run.dir=pictures")
    assert files(home / "table") == {"embeddings.parquet"}
    assert rows(home / "table") == rows(home / "all")
    found, everything = (pq.read_table(home / one / "embeddings.parquet") for one in ("table", "all"))
    assert found.equals(everything) and found.num_rows == 11
    for row in found.to_pylist():
        own = np.load(home / "all" / Path(row["input"]).stem / "embedding.npy")
        np.testing.assert_array_equal(np.float32(row["embedding"]), own)
    pictures = {name for name in files(home / "all") if not name.endswith(("embedding.npy", ".parquet"))}
    assert files(home / "pictures") == pictures
    for name in pictures:
        assert (home / "pictures" / name).read_bytes() == (home / "all" / name).read_bytes()
    assert "has another write" in run("write=panels", "resume=pictures").stderr


def test_a_small_network_on_several_threads_makes_the_same_run(home: Path) -> None:
    """Several inputs are then encoded at once. `home` has the run of one thread."""
    run_py(*COMMAND, "hydra.run.dir=threads", cwd=home, status=1, env={"OMP_NUM_THREADS": "3"}, real=True)
    same_run(home / "all", home / "threads")


def test_a_table_of_embeddings_is_resumed_and_compared(run, home: Path, tmp_path: Path) -> None:
    """A killed run keeps what it has added; a run that has ended takes a changed file."""
    clips = shutil.copytree(home / "clips", tmp_path / "clips")
    (clips / "bad.wav").unlink()
    command = [*COMMAND, "write=embeddings"]
    process = start_py(*command, "hydra.run.dir=out", cwd=tmp_path)
    while not ((tmp_path / "out" / "results.csv").exists() and len(rows(tmp_path / "out")) >= 3):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out" / "embeddings.parquet").exists()
    run(*command, "resume=out")
    counts = json.loads((tmp_path / "out" / "run.json").read_text())["counts"]
    assert counts["done"] == 11 and counts["kept"] >= 3
    first = pq.read_table(tmp_path / "out" / "embeddings.parquet")
    assert first.equals(pq.read_table(home / "all" / "embeddings.parquet"))
    assert files(tmp_path / "out") == {"embeddings.parquet"}
    shutil.copy(EXAMPLES / "alsa_female.flac", clips / "a.wav")
    assert "11 done (10 of them before)" in run(*command, "resume=out").stderr
    run("-m", *command, "seed=0,1", "hydra.sweep.dir=sweep")
    one, other, out = (pq.read_table(tmp_path / name / "embeddings.parquet") for name in ("sweep/0", "sweep/1", "out"))
    assert out.equals(one) and not out.equals(first)
    with open(tmp_path / "sweep" / "comparison.csv", newline="") as file:
        compared = {row["input"]: row["cosine seed=1"] for row in csv.DictReader(file)}
    for a, b in zip(one.to_pylist(), other.to_pylist(), strict=True):
        x, y = np.float64(a["embedding"]), np.float64(b["embedding"])
        assert float(compared[a["input"]]) == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), abs=1e-4)


def test_shards_of_which_one_was_killed_make_the_run_of_one_process(home: Path) -> None:
    run = partial(run_py, cwd=home)
    shards = ["shards=3", "hydra/launcher=joblib", "hydra.launcher.n_jobs=1", "hydra.sweep.dir=sweep"]
    killed = start_py("-m", *COMMAND, *shards, "shard=range(0,3)", cwd=home)
    begun = home / "sweep" / "1" / "results.csv"
    while not (begun.exists() and len(begun.read_bytes().splitlines()) > 1):
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    merge = ["pipeline=merge", "runs=sweep"]
    assert "of 3 shards are missing or not complete (1, 2)" in run(*merge, "hydra.run.dir=early", status=1).stderr
    assert not (home / "early" / "results.csv").exists()
    run(*COMMAND, "shards=3", "shard=1", "resume=sweep/1")
    run(*COMMAND, "shards=3", "shard=2", "hydra.run.dir=sweep/2", status=1)
    run(*merge, "hydra.run.dir=whole", status=1)
    same_run(home / "all", home / "whole")
    record = home / "sweep" / "2" / "run.json"
    record.write_text(record.read_text().replace('"inputs": 12', '"inputs": 13'))
    assert "not shards of one run" in run(*merge, "hydra.run.dir=mixed", status=1).stderr


def test_a_shard_is_not_resumed_with_other_inputs(tmp_path: Path) -> None:
    """The order of the rows would then be another."""
    options = options_of("pipeline=speech", "audio=clips", "shards=3", "shard=1")
    inputs = [Input(f"{name}.wav", name) for name in "abcdefgh"]
    taken = [inputs_of_shard(inputs, replace(options, shard=shard))[0] for shard in range(3)]
    assert [one for part in taken for one in part] == inputs and {len(one) for one in taken} == {2, 3}
    run = Run(tmp_path, [])
    record_part(run, inputs_of_shard(inputs, options)[1], options)
    again = Run(tmp_path, [], run.record | {"weights": {}})
    record_part(again, inputs_of_shard(inputs, options)[1], options)
    with pytest.raises(UserError, match="had shard 1 of 3 of 8 inputs, and this one has shard 1 of 3 of 7 inputs"):
        record_part(again, inputs_of_shard(inputs[1:], options)[1], options)


def test_tables_of_any_length_become_the_table_of_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "GROUP", 4)
    generator, groups = np.random.default_rng(0), lambda rows: [rows[at : at + 4] for at in range(0, len(rows), 4)]
    embeddings = generator.normal(size=(19, 6)).astype(np.float32)

    def write(folder: str, rows: list[int]) -> Path:
        (tmp_path / folder).mkdir()
        texts = [{"input": [f"{row}.wav" for row in some], "person": [None] * len(some)} for some in groups(rows)]
        batches = zip(texts, (embeddings[some] for some in groups(rows)), strict=True)
        write_embeddings(tmp_path / folder / table.EMBEDDINGS, batches)
        return tmp_path / folder / table.EMBEDDINGS

    one, every = write("one", list(range(19))), [range(3), range(3, 12), range(12, 16), range(16, 19)]
    table.merge_tables(tmp_path, [write(str(number), list(rows)) for number, rows in enumerate(every)])
    assert (tmp_path / table.EMBEDDINGS).read_bytes() == one.read_bytes()


@pytest.mark.parametrize("text", ["/a b/c", "it's", "x\\", "x\\'y\\\\", "é=[1,2]", "2024_05", "/[x]/,{y}", "a\\b"])
def test_the_directory_of_a_sweep_may_have_any_name(text: str) -> None:
    override = OverridesParser.create().parse_overrides([f"hydra.sweep.dir={quoted(text)}"])[0]
    assert override.value() == text


def test_ray_on_two_nodes_makes_the_run_of_one_process(home: Path) -> None:
    cluster_utils = pytest.importorskip("ray.cluster_utils", reason="the extra cluster, with Ray, is not installed")
    pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="the extra cluster is not installed")
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        ray = ["hydra/launcher=ray", f"hydra.launcher.ray.init.address='{cluster.address}'", "hydra.sweep.dir=of_ray"]
        ray += ["+hydra.launcher.ray.init.object_store_memory=null", "+hydra.launcher.ray.remote.num_cpus=1"]
        run_py("-m", *COMMAND, "shards=2", "shard=range(0,2)", *ray, cwd=home, status=1, real=True)
    finally:
        cluster.shutdown()
    jobs = [json.loads((home / "of_ray" / job / "run.json").read_text()) for job in "01"]
    began = [datetime.fromisoformat(one["started"]).timestamp() for one in jobs]
    assert max(began) < min(start + one["seconds"]["total"] for start, one in zip(began, jobs, strict=True))
    run_py("pipeline=merge", "runs=of_ray", "hydra.run.dir=by_ray", cwd=home, status=1)
    same_run(home / "all", home / "by_ray")
