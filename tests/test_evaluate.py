"""Simulated people through the command line: their dataset, and what an evaluation says of encoders on it."""

import csv
import hashlib
import json
import os
import re
import shutil
import signal
import time
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import EXAMPLES, ROOT, TINY, run_py, start_py
from people import fit
from PIL import Image

from speech2face.config.compose import options_of, store_defaults
from speech2face.data.dataset import Dataset, read_dataset
from speech2face.data.people import read_people
from speech2face.errors import UserError
from speech2face.evaluation.evaluation import Material
from speech2face.pipelines.evaluate import choose, embed_enough, gather
from speech2face.talkers.traits import draw_person

store_defaults()
PEOPLE, TESTED = 160, 60  # the other hundred are enough to fit an ideal observer
TALKERS = ["pipeline=talkers", f"data.people={PEOPLE}", "data.clips=2", "data.photos=2", "data.seconds=2"]
SMALL = ["encoder.model.depth=1", "encoder.model.stride=16", "preprocessing.window_seconds=2"]
RANDOM = ["encoder=ast_tiny", "encoder.weights=random", *SMALL]
UNTRAINED = [*RANDOM, "decoder.weights=random"]
KNOWING = ["decoder=drawn", "decoder.weights=decoder.pt", "encoder@face=seen", "face.weights=encoder.pt"]


def tree(root: Path) -> dict[str, str]:
    files = sorted(file for file in root.rglob("*") if file.is_file())
    return {str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def read(table: Path) -> list[dict[str, str]]:
    with open(table, newline="") as file:
        return list(csv.DictReader(file))


WHOLE = "face.preprocessing.crop=none"


@pytest.fixture(scope="module")
def population(tmp_path_factory) -> Path:
    """A dataset of simulated people, three in eight of them for testing."""
    folder = tmp_path_factory.mktemp("population")
    run_py(*TALKERS, "data.root=people", cwd=folder)
    rows = read(folder / "people" / "people.csv")
    for i, row in enumerate(rows):
        row["split"] = "test" if i % 8 in (0, 2, 4) else "train"
    with open(folder / "people" / "people.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "people"


@pytest.fixture(scope="module")
def home(population) -> Path:
    """Where evaluations are run: with a face encoder and a decoder that know something, as a user would add them."""
    folder = population.parent
    for group, target in (("encoder", "Seen"), ("decoder", "Drawn"), ("decoder", "Flat")):
        (folder / "conf" / group).mkdir(parents=True, exist_ok=True)
        text = {"weights": None, "model": {"_target_": f"people.{target}"}}
        if group == "encoder":
            text |= {"modality": "face", "defaults": [{"/preprocessing@preprocessing": "image"}]}
        (folder / "conf" / group / f"{target.lower()}.yaml").write_text(yaml.safe_dump(text))
    fit(population, folder / "encoder.pt", folder / "decoder.pt")
    return folder


@pytest.fixture
def evaluate(run, home):
    """`python run.py pipeline=evaluate ARGUMENTS` there."""

    def call(*arguments: str, **options):
        own = [*options.pop("first", ()), "-cd", "conf", "pipeline=evaluate", "data.root=people", *KNOWING, WHOLE]
        return run(*own, *arguments, cwd=home, env={"PYTHONPATH": str(ROOT / "tests")}, **options)

    return call


def test_dataset_is_in_the_layout(population):
    rows = read(population / "people.csv")
    assert len(rows) == PEOPLE and rows[0]["person"] == "talker-0-000000" and rows[0]["sex"] in ("female", "male")
    faces = pq.read_table(population / "prepared" / "faces.parquet").to_pylist()
    clips = pq.read_table(population / "prepared" / "clips.parquet").to_pylist()
    assert len(faces) == len(clips) == 2 * PEOPLE
    for row in (faces[0], clips[-1]):
        assert hashlib.sha256((population / row["path"]).read_bytes()).hexdigest() == row["sha256"]
    with Image.open(population / faces[5]["path"]) as photo:
        assert photo.size == (224, 224) and photo.mode == "RGB"
    landmarks = np.array([row["landmarks"] for row in faces]).reshape(-1, 72, 2)
    assert landmarks[:, 8, 1].mean() > landmarks[:, 48, 1].mean() > landmarks[:, 36, 1].mean()  # chin, mouth, eyes
    with av.open(str(population / clips[3]["path"])) as file:
        assert file.streams.audio[0].rate == 16_000 and file.duration / 1e6 == pytest.approx(clips[3]["seconds"])


def test_same_dataset_however_it_is_made(run, population, tmp_path):
    """Alone or among others, on one process or three, killed on the way or not."""
    small = [*TALKERS[2:], "pipeline=talkers", "data.people=20", "data.root=small"]
    process = start_py(*small, "workers=3", cwd=tmp_path)
    while not list(tmp_path.glob("small/talker-*")) and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = {file.name for file in (tmp_path / "small").glob("talker-*")}
    assert 0 < len(done) < 20 and not (tmp_path / "small" / "people.csv").exists()
    run(*small, "workers=1")
    assert len(list((tmp_path / "small").glob("talker-*"))) == 20 and not list(tmp_path.glob("small/.*"))
    ours, theirs = tree(tmp_path / "small"), tree(population)
    assert {name: theirs[name] for name in ours if name.startswith("talker-")} == {
        name: digest for name, digest in ours.items() if name.startswith("talker-")
    }
    refused = run(*small, "data.people=19", status=1)
    assert "has 20 people already" in refused.stderr and refused.stderr.count("\n") == 1
    refused = run(*small, "seed=1", status=1)
    assert "made with seed=0" in refused.stderr and refused.stderr.count("\n") == 1
    (tmp_path / "small" / "talker-0-000003" / "images" / "00.png").unlink()
    run("-m", *small, "data.people=21,22")
    assert len(read(tmp_path / "small" / "people.csv")) == 22
    assert (tmp_path / "small" / "talker-0-000003" / "images" / "00.png").exists()


def test_an_interrupted_dataset_stops_and_goes_on(run, tmp_path):
    many = ["pipeline=talkers", "data.people=400", "data.root=many", "data.clips=0", "data.photos=1"]
    process = start_py(*many, "hydra.run.dir=out", cwd=tmp_path)
    while not list(tmp_path.glob("many/talker-*")) and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130 and "to go on: the same command" in said and "Traceback" not in said
    assert 0 < len(list(tmp_path.glob("many/talker-*"))) < 300 and not list(tmp_path.glob("many/.*.partial"))
    assert (tmp_path / "out" / ".hydra" / "effective.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pipeline=talkers"], "data.root="),
        (["pipeline=talkers", "data.root=full"], "not empty"),
        (["pipeline=talkers", "data.root=new", "data.people=0"], "data.people=0"),
        (["pipeline=talkers", "data.root=new", "data.seconds=-1"], "data.seconds=-1"),
        (["pipeline=evaluate", *UNTRAINED, "face.weights=random"], "data.root="),
        (
            ["pipeline=evaluate", *UNTRAINED, "face.weights=random", "data.root=x", "gallery_sizes=100"],
            "a list",
        ),
        (["pipeline=evaluate", *UNTRAINED, "face.weights=random", "data.root=x", "pipeline.attributes=sex"], "a list"),
        (["pipeline=evaluate", *UNTRAINED, "face.weights=random", "data.root=x", "cache=null"], "cache"),
        (["pipeline=evaluate", *UNTRAINED, "face.encoder=nope", "data.root=x"], "encoder/nope"),
        (["pipeline=evaluate", *UNTRAINED, "face.overrides=['a=3']", "data.root=x"], "face.preprocessing.crop=none"),
        (["pipeline=evaluate", *UNTRAINED, "face.weights=random", "data.root=nowhere"], "no such directory"),
        (["pipeline=evaluate", *UNTRAINED, "face.weights=random", "data.root=full"], "no <person>/audios"),
        (["pipeline=evaluate", *UNTRAINED, "face.weights=null", "data.root=full"], "face.weights="),
        (
            ["pipeline=evaluate", *UNTRAINED, "face.encoder=paper", "face.weights=random", "data.root=full"],
            "takes a voice",
        ),
    ],
)
def test_mistakes_are_one_line(run, tmp_path, arguments, words):
    (tmp_path / "full" / "someone").mkdir(parents=True)
    (tmp_path / "full" / "notes.txt").write_text("mine")
    result = run(*arguments, status=1)
    assert words in result.stderr and result.stderr.count("\n") == 1, result.stderr


@pytest.fixture(scope="module")
def metrics(home) -> dict[str, dict]:
    """Of a voice encoder with random weights, beside a face encoder and a decoder that know something."""
    command = ["-cd", "conf", "pipeline=evaluate", "data.root=people", *RANDOM, *KNOWING, WHOLE, "hydra.run.dir=out"]
    run_py(*command, cwd=home, env={"PYTHONPATH": str(ROOT / "tests")})
    return json.loads((home / "out" / "metrics.json").read_text())["metrics"]


def test_random_weights_are_at_chance(run, population, tmp_path):
    """All three networks. But for consistency: clips of one person sound alike to any network, trained or not."""
    faces = ["face.weights=random", WHOLE, "face.preprocessing.size=64", "face.model.width=0.125"]
    faces += ["decoder.model.width=0.02", "pipeline.train_people=40", "gallery_sizes=[40]", "seed=1"]
    run("pipeline=evaluate", f"data.root={population}", *UNTRAINED, *faces, "hydra.run.dir=out")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())["metrics"]
    assert metrics.pop("consistency/equal_error_rate")["value"] < 0.5
    metrics = {name: row for name, row in metrics.items() if not name.startswith("photo/") and row["value"] is not None}
    missed = {
        name: row for name, row in metrics.items() if not row["low"] - 1e-9 <= row["chance"] <= row["high"] + 1e-9
    }
    assert len(metrics) > 45 and len(missed) <= 0.05 * len(metrics), missed  # that is what 95 % means
    for row in missed.values():
        assert abs(row["value"] - row["chance"]) < row["high"] - row["low"]


def test_the_ideal_observer_is_far_above_chance_and_far_below_the_traits_observer(metrics, home):
    def row(name):
        return metrics[f"embedding/{name}"]

    assert row("sex/accuracy")["ideal_low"] > row("sex/accuracy")["chance"] + 0.2
    assert row("sex/accuracy")["ideal"] < row("sex/accuracy")["traits"]
    assert 0.3 < row("age/correlation")["ideal_low"] < row("age/correlation")["ideal_high"] < 0.9
    assert row("age/correlation")["traits"] > 0.9 and row("age/error")["traits"] < 0.7 * row("age/error")["ideal"]
    hair = [traits["hair_colour"] for traits in read(home / "people" / "people.csv") if traits["split"] == "test"]
    guessed = max(hair.count(colour) for colour in hair) / len(hair)
    for name, chance in (("skin_tone/correlation", 0), ("hair_colour/accuracy", guessed)):  # no voice tells these
        assert row(name)["ideal_low"] < chance + 0.05 and row(name)["traits"] < chance + 0.15
    assert metrics["photo/skin_tone/correlation"]["value"] > 0.8  # though they are in the faces
    for metric in ("cosine", "l1", "l2"):
        recall, rank = (metrics[f"retrieval/{metric}/all/{name}"] for name in ("R@10", "median_rank"))
        assert recall["traits"] > recall["ideal"] > 1.2 * recall["chance"]
        assert rank["ideal_high"] < 0.8 * rank["chance"] and rank["traits"] < rank["ideal"]
        share = (rank["value"] - rank["chance"]) / (rank["ideal"] - rank["chance"])
        assert rank["of_ideal"] == pytest.approx(share) and abs(share) < 0.5
    for name in ("distance/cosine", "craniofacial/mean", "face/sex/accuracy", "face/age/correlation"):
        chance, ideal, traits = (metrics[name][who] for who in ("chance", "ideal", "traits"))
        assert abs(traits - chance) > abs(ideal - chance) > 0.1


def test_an_evaluation_leaves_tables_plots_and_a_gallery(metrics, home):
    out = home / "out"
    table = {row["metric"]: row for row in read(out / "metrics.csv")}
    assert table.keys() == metrics.keys()
    assert float(table["embedding/sex/accuracy"]["value"]) == pytest.approx(metrics["embedding/sex/accuracy"]["value"])
    queries = read(out / "queries.csv")
    hits = np.mean([int(row["rank_cosine"]) <= 10 for row in queries])
    assert len(queries) == 2 * TESTED and hits == pytest.approx(metrics["retrieval/cosine/all/R@10"]["value"])
    right = np.mean([row["sex"] == row["sex_read"] for row in queries])
    assert right == pytest.approx(metrics["embedding/sex/accuracy"]["value"])
    for name in ("plots.png", "gallery.png"):
        with Image.open(out / name) as picture:
            assert min(picture.size) > 500


class Page(HTMLParser):
    """The parts of a report: rows of metrics by name, lines of the gallery as captions with classes, and addresses."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.rows: dict[str, list[str]] = {}
        self.lines: list[list[list[str]]] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.cell: list[str] | None = None
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        self.tags.add(tag)
        self.addresses += [values[name] for name in ("src", "href", "srcset", "data") if name in values]
        if "data-metric" in values:
            self.row = self.rows[values["data-metric"]] = []
        elif tag == "td" and self.rows:
            self.row.append("")
            self.cell = self.row
        elif values.get("class") == "line":
            self.lines.append([])
        elif tag == "figure":
            self.lines[-1].append([values["class"], ""])
            self.cell = self.lines[-1][-1]

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "figure"):
            self.cell = None

    def handle_data(self, data: str) -> None:
        if self.cell is not None:
            self.cell[-1] += data + " "


def shown_number(text: str) -> float:
    """The number in a cell; percentages as shares."""
    value = float(re.match(r"[-+\d.,]+", text.strip().replace("\N{MINUS SIGN}", "-"))[0].replace(",", ""))
    return value / 100 if "%" in text or "points" in text else value


def test_the_report_has_the_numbers_of_metrics_json_and_loads_nothing(metrics, home):
    page = Page(home / "out" / "report.html")
    assert page.rows.keys() == metrics.keys()
    for name, (_, _, value, interval, chance, *ideal) in page.rows.items():
        row = metrics[name]
        if row["value"] is None:
            assert value.strip() == "undefined"
            continue
        tolerance = 0.06 if abs(row["value"]) >= 10 or any(unit in value for unit in ("dB", "years", "pix")) else 0.0006
        assert shown_number(value) == pytest.approx(row["value"], abs=tolerance), name
        assert shown_number(chance) == pytest.approx(row["chance"], abs=tolerance), name
        bounds = [shown_number(bound + "%" * ("%" in value)) for bound in interval.split(" to ")]
        assert bounds == pytest.approx([row["low"], row["high"]], abs=tolerance), name
        if ideal and row["ideal"] is not None:
            assert shown_number(ideal[0]) == pytest.approx(row["ideal"], abs=tolerance), name
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert not page.tags & {"script", "link", "iframe", "object", "embed", "base"}
    text = (home / "out" / "report.html").read_text()
    assert "url(" not in text and "@import" not in text and "http" not in re.sub(r"data:[^\"]*", "", text)
    recall = metrics["retrieval/cosine/all/R@5"]
    assert f"For {100 * recall['value']:.1f}" in text and "an estimate of the best prediction" in text
    assert page.tags >= {"audio", "img"}  # simulated people may be heard


def test_embeddings_and_the_right_person_among_the_retrieved(metrics, home):
    """Against a sort of the distances between the embeddings that the run left."""
    rows = pq.read_table(home / "out" / "embeddings.parquet").to_pylist()
    photos, queries = ([row for row in rows if row["role"] == role] for role in ("photo", "query"))
    ranks = {row["query"]: int(row["rank_cosine"]) for row in read(home / "out" / "queries.csv")}
    assert len(photos) == TESTED and len(queries) == len(ranks)
    for row in rows[::20]:
        assert hashlib.sha256((home / row["input"]).read_bytes()).hexdigest() == row["sha256"]
        assert Path(row["input"]).parents[1].name == row["person"] and len(row["embedding"]) == 4096
    gallery = np.array([row["embedding"] for row in photos], np.float64)
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    names, nearest = [row["person"] for row in photos], {}
    for row in queries:
        order = (-gallery @ np.array(row["embedding"], np.float64)).argsort(kind="stable")
        people = [names[i] for i in order]
        path = "/".join(Path(row["input"]).parts[-3:])
        assert ranks[path] == pytest.approx(people.index(row["person"]) + 1, abs=1)  # a tie in float32
        nearest.setdefault(row["person"], []).append(people[:5])
    page = Page(home / "out" / "report.html")
    text = (home / "out" / "report.html").read_text()
    shown = re.findall(r"<b>(talker-\S+)</b> — the right photo is number (\d+)", text)
    assert len(shown) == len(page.lines) == 12
    for (person, rank), cells in zip(shown, page.lines, strict=True):
        assert [caption.strip() for _, caption in cells[:3]] == [
            "photo",
            "drawn from the photo",
            "drawn from the voice",
        ]
        right = [place for place, (kind, _) in enumerate(cells[3:], 1) if "right" in kind.split()]
        assert right == ([int(rank)] if int(rank) <= 5 else [])
        found = [caption.strip().partition(". ")[2].replace("right person", person) for _, caption in cells[3:]]
        assert found in nearest[person]


def test_pictures_that_all_look_alike_give_no_correlation(evaluate, home):
    result = evaluate(*RANDOM, *QUICK, "decoder=flat", "decoder.weights=random", "hydra.run.dir=flat")
    found = json.loads((home / "flat" / "metrics.json").read_text())
    assert not [name for name in found["metrics"] if name.startswith(("face/", "cranio")) and "accuracy" not in name
                and "error" not in name]  # fmt: skip
    assert "all drawn faces look alike" in result.stderr and any("look alike" in note for note in found["notes"])


def test_ten_people_of_ones_own(run, home, tmp_path):
    """No training people, no normalized faces, a damaged first photo: evaluated whole, with the weights' estimates."""
    people = tmp_path / "ten"
    for person in sorted(home.glob("people/talker-*"))[:10]:
        shutil.copytree(person, people / person.name)
    for name in ("people.csv", "talkers.json", "prepared"):
        (shutil.copytree if name == "prepared" else shutil.copy)(home / "people" / name, people / name)
    (people / "prepared" / "normalized.parquet").unlink()
    table = pq.read_table(people / "prepared" / "faces.parquet")
    kept = [row for row in table.to_pylist() if (people / row["path"]).exists()]
    pq.write_table(pa.Table.from_pylist(kept, table.schema), people / "prepared" / "faces.parquet")
    clips = pq.read_table(people / "prepared" / "clips.parquet")
    rows = [row for row in clips.to_pylist() if (people / row["path"]).exists()]
    pq.write_table(pa.Table.from_pylist(rows, clips.schema), people / "prepared" / "clips.parquet")
    with open(people / "people.csv", "w", newline="") as file:
        own = [row for row in read(home / "people" / "people.csv") if (people / row["person"]).exists()]
        writer = csv.DictWriter(file, own[0])
        writer.writeheader()
        writer.writerows(row | {"split": ""} for row in own)
    first = people / own[0]["person"] / "images"
    (first / "00.png").write_bytes(b"damaged")
    bundled = ["encoder=ast", "encoder.weights=bundled/talkers", WHOLE, "samples=50"]
    result = run("pipeline=evaluate", f"data.root={people}", *bundled, "hydra.run.dir=out", status=1)
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    metrics = found["metrics"]
    assert found["people"] == 10 and found["failed"] == 1
    assert metrics["estimate/sex/accuracy"]["value"] >= 0.7 and metrics["estimate/age/error"]["value"] < 25
    right = np.mean([row["sex"] == row["sex_read"] for row in read(tmp_path / "out" / "queries.csv")])
    assert metrics["estimate/sex/accuracy"]["value"] == pytest.approx(right)
    assert "embedding/sex/accuracy" not in metrics
    for name in ("psnr_db", "ssim"):  # photos in the frame of the drawn faces
        assert metrics[f"face_to_face/{name}"]["low"] > metrics[f"face_to_face/{name}"]["chance"]
    assert metrics["face_to_face/landmark_error_px"]["value"] < metrics["face_to_face/landmark_error_px"]["chance"]
    text = (tmp_path / "out" / "report.html").read_text()
    assert "There is no ideal observer" in text and metrics["distance/cosine"]["ideal"] is None
    trained = sum(draw_person(0, int(row["person"][-6:])).split == "train" for row in own)
    assert f"were trained on {trained} of these 10 people" in result.stderr and "were trained on" in text
    assert "10 people are few" in result.stderr


QUICK = ["pipeline.clips=1", "pipeline.pictures=20", "pipeline.samples=50"]


@pytest.fixture
def sweep(evaluate, home) -> Path:
    """A sweep over two encoders and two files of weights, of which one does not exist."""
    if not (home / "sweep").exists():
        jobs = ["encoder=ast_tiny,ast_small", "encoder.weights=random,nowhere.pt"]
        evaluate(*jobs, *SMALL, *QUICK, "hydra.sweep.dir=sweep", first=["-m"], status=1)
    return home / "sweep"


def test_shards_of_an_evaluation_fill_the_cache_for_one_that_says_the_same(evaluate, sweep, home):
    shards = ["cache=shared", "shards=2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=1"]
    evaluate(*RANDOM, *QUICK, *shards, "shard=range(0,2)", "hydra.sweep.dir=shards", first=["-m"])
    parts = [json.loads((home / "shards" / job / "run.json").read_text())["counts"] for job in "01"]
    whole = json.loads((sweep / "0" / "run.json").read_text())["counts"]
    assert {key: sum(part[key] for part in parts) for key in parts[0]} == {key: whole[key] for key in parts[0]}
    encoded = {file: file.read_bytes() for file in (home / "shared").glob("*/embeddings.f32")}
    evaluate(*RANDOM, *QUICK, "cache=shared", "hydra.run.dir=of_shards")
    assert {file: file.read_bytes() for file in (home / "shared").glob("*/embeddings.f32")} == encoded
    for name in ("metrics.json", "embeddings.parquet", "results.csv"):
        assert (home / "of_shards" / name).read_bytes() == (sweep / "0" / name).read_bytes(), name


def test_a_second_evaluation_encodes_nothing_and_says_the_same(evaluate, sweep, home):
    embeddings = {file: file.stat().st_mtime_ns for file in (home / "outputs/embeddings").rglob("embeddings.f32")}
    assert len(embeddings) >= 3  # of two voice encoders and a face encoder
    (home / "outputs" / "embeddings" / "stray").mkdir()
    evaluate(*RANDOM, *QUICK, "hydra.run.dir=again")
    assert {file: file.stat().st_mtime_ns for file in embeddings} == embeddings
    assert (home / "again" / "metrics.json").read_bytes() == (sweep / "0" / "metrics.json").read_bytes()


def test_a_sweep_ends_in_one_table_and_one_plot(sweep, home):
    table = read(home / "sweep" / "comparison.csv")
    assert all((home / "sweep" / job / "run.log").exists() for job in "0123")
    metrics = [json.loads((home / "sweep" / job / "metrics.json").read_text())["metrics"] for job in "02"]
    assert [row["metric"] for row in table] == list(metrics[0])
    for row in table[:20]:
        for job, encoder in zip(metrics, ("ast_tiny", "ast_small"), strict=True):
            value = float(row[f"encoder={encoder}, encoder.weights=random"])
            assert value == pytest.approx(job[row["metric"]]["value"], rel=1e-4, abs=1e-9)
            assert row[f"encoder={encoder}, encoder.weights=nowhere.pt"] == ""
    with Image.open(home / "sweep" / "comparison.png") as picture:
        assert picture.width > 1000
    page = Page(home / "sweep" / "comparison.html")
    differences = {row["metric"]: row for row in read(home / "sweep" / "differences.csv")}
    assert page.rows.keys() == differences.keys() >= {"retrieval/cosine/all/R@10", "embedding/age/correlation"}
    for name, row in differences.items():  # both jobs evaluated the same people
        expected = metrics[1][name]["value"] - metrics[0][name]["value"]
        assert (row["job"], row["than"]) == tuple(
            f"encoder={one}, encoder.weights=random" for one in ("ast_small", "ast_tiny")
        )
        assert float(row["difference"]) == pytest.approx(expected, rel=1e-5, abs=1e-5)
        fewest = 2 if name.startswith("association/") else 20  # of groups, those with others to compare
        assert fewest <= int(row["people"]) <= TESTED
        assert float(row["low"]) <= expected <= float(row["high"]) and float(row["p_corrected"]) >= float(row["p"])
        assert shown_number(page.rows[name][3]) == pytest.approx(expected, abs=0.06)
    assert all(address.startswith(("data:", "#")) for address in page.addresses) and "script" not in page.tags
    text = (home / "sweep" / "comparison.html").read_text()
    assert text.count("nowhere.pt failed: ") == 2 and "Holm" in text


def test_bad_files_are_rows_and_the_others_are_evaluated(evaluate, home, tmp_path):
    people = tmp_path / "people"
    shutil.copytree(home / "people", people)
    named = sorted(people.glob("talker-*"))[:20:2]
    (named[0] / "audios" / "00.flac").write_bytes(b"no sound")
    (named[1] / "images" / "00.png").write_bytes(b"")
    shutil.rmtree(named[2] / "images")
    quick = ["pipeline.samples=20", "pipeline.pictures=10"]
    result = evaluate(*RANDOM, *quick, f"data.root={people}", f"hydra.run.dir={tmp_path}/out", status=1)
    failed = {row["input"]: row["error"] for row in read(tmp_path / "out" / "results.csv")}
    assert failed.keys() == {str(named[0] / "audios" / "00.flac"), str(named[1] / "images" / "00.png")}
    assert "empty" in failed[str(named[1] / "images" / "00.png")]
    counts = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert counts["failed"] == 2 and counts["people"] == TESTED - 1  # another photo stands for the damaged one
    assert result.stderr.count("\nfailed: ") == 2


def test_an_encoder_that_sees_is_asked_other_photos_and_a_run_can_be_repeated(evaluate, run, home):
    quick = ["pipeline.samples=20", "pipeline.pictures=10", "seed=5", "pipeline.split=all"]
    result = evaluate(
        "encoder=seen", "encoder.weights=encoder.pt", "preprocessing.crop=none", *quick, "hydra.run.dir=faces"
    )
    assert "no training people" in result.stderr
    metrics = json.loads((home / "faces" / "metrics.json").read_text())
    assert metrics["people"] == metrics["queries"] == PEOPLE and metrics["training photos"] == 0
    metrics = metrics["metrics"]
    assert metrics["retrieval/l2/all/R@10"]["value"] > 0.3 and not any("sex" in name for name in metrics)
    assert metrics["distance/l2"]["value"] < 0.8 * metrics["distance/l2"]["chance"]
    repeat = ["-cd", "faces/.hydra", "-cn", "effective", "hydra.run.dir=repeated"]
    run(*repeat, cwd=home, env={"PYTHONPATH": str(ROOT / "tests")})
    assert json.loads((home / "repeated" / "metrics.json").read_text())["metrics"] == metrics
    before = (home / "encoder.pt").read_bytes()
    (home / "encoder.pt").write_bytes(before + b" ")  # the same weights, in another file
    refused = run(*repeat[:4], cwd=home, env={"PYTHONPATH": str(ROOT / "tests")}, status=1)
    (home / "encoder.pt").write_bytes(before)
    assert "has changed since the run that is repeated" in refused.stderr


def test_embeddings_are_cached_by_everything_that_they_depend_on(tmp_path, monkeypatch):
    """Also by settings that no tensor shows, such as heads, and by the version of the front end's code."""
    from speech2face import build
    from speech2face.inference.cache import embed
    from speech2face.preprocessing.fbank import LogMelFilterBank

    clip = "librivox_male.wav"

    kept = []
    for heads in (1, 3):
        small = ["encoder.model.depth=1", f"encoder.model.heads={heads}", "preprocessing.window_seconds=1"]
        pipeline = build("encoder=ast_tiny", "encoder.weights=random", *TINY[1:], *small)
        kept.append(embed(EXAMPLES, [clip], pipeline.encoder, tmp_path / "cache", 1, "clips").of([clip])[0])
    assert len(list((tmp_path / "cache").iterdir())) == 2 and not np.allclose(*kept)
    damaged = sorted((tmp_path / "cache").iterdir())[0]
    with open(damaged / "sha256.txt", "ab") as file:
        file.write(b"\xff half a line")
    again = embed(EXAMPLES, [clip], pipeline.encoder, tmp_path / "cache", 1, "clips")
    assert np.array_equal(again.of([clip])[0], kept[1])
    monkeypatch.setattr(LogMelFilterBank, "version", LogMelFilterBank.version + 1)
    embed(EXAMPLES, [clip], pipeline.encoder, tmp_path / "cache", 1, "clips")
    assert len(list((tmp_path / "cache").iterdir())) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,sex\na,male\n", "needs a column `person`"),
        ("person,sex\na,male\na,female\n", "line 3: a again, after line 2"),
        ("person,sex\na,male,30\n", "line 2: not 2 values"),
        ("person,sex\na\n", "line 2: not 2 values"),
        (f"person,sex\na,{'x' * 200_000}\n", "line 2: not CSV"),
    ],
)
def test_a_people_csv_that_is_none_is_refused_with_its_line(tmp_path, text, words):
    (tmp_path / "people.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        read_people(tmp_path / "people.csv")


def test_unknown_values_and_codes_of_traits(tmp_path):
    table = {"a": ("30", "0", ""), "b": ("n/a", "1", "x"), "c": ("41.5", "1", "unknown"), "d": ("50", "", "y")}
    traits = {person: dict(zip(("age", "sex", "hair"), row, strict=True)) for person, row in table.items()}
    nobody = np.zeros((0, 4096))
    material = Material(Dataset(tmp_path, traits), [], [], nobody, [], nobody, np.zeros(0), [], nobody)
    found = material.traits(("age", "sex", "hair", "nothing"), ["a", "b", "c", "d", "e"])
    assert np.array_equal(found["age"], [30, np.nan, 41.5, 50, np.nan], equal_nan=True)
    assert found["sex"].tolist() == ["0", "1", "1", "", ""]  # two codes are classes, not quantities
    assert found["hair"].tolist() == ["", "x", "", "y", ""] and "nothing" not in found


def people_of(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


class Embedded:
    """What `embed` returns, of files whose content says whether they can be read."""

    tried: ClassVar[list[str]] = []

    def __init__(self, root: Path, paths: list[str]) -> None:
        Embedded.tried += paths
        bad = [path for path in paths if b"bad" in (root / path).read_bytes()]
        self.digests = {path: path for path in paths if path not in bad}
        self.errors = dict.fromkeys(bad, "damaged")

    def of(self, paths: list[str]) -> list[str]:
        return [self.digests[path] for path in paths]


def evaluated(root: Path, *overrides: str) -> tuple[Material, dict[str, str]]:
    """The material of an evaluation of a dataset."""
    options = options_of("pipeline=evaluate", f"data.root={root}", *overrides)
    dataset = read_dataset(root)
    options, chosen = choose(dataset, options)
    return gather(dataset, chosen, *[partial(Embedded, root)] * 2, options.encoder.modality)


@pytest.mark.parametrize(
    "beside", ["notes.txt", "a.json", "Thumbs.db", ".DS_Store", "list.CSV", "1.TextGrid", "cover.pdf"]
)
def test_what_lies_beside_the_files_is_neither_recording_nor_photo(tmp_path, beside):
    for person in ("a", "b"):
        people_of(tmp_path, *(f"{person}/audios/{name}" for name in (beside, "9.wav", "cover.jpg")))
        people_of(tmp_path, *(f"{person}/images/{name}" for name in (beside, "9.jpg", "voice.mp3")))
    material, errors = evaluated(tmp_path, "clips=1")
    assert material.queries == ["a/audios/9.wav", "b/audios/9.wav"] and not errors
    assert material.photos == ["a/images/9.jpg", "b/images/9.jpg"]


def test_the_next_good_file_of_a_person_replaces_a_damaged_one(tmp_path):
    people_of(
        tmp_path, "a/images/0 bad.jpg", "a/images/1 bad.jpg", "a/images/2.jpg", "a/images/3.jpg", "b/images/0.jpg"
    )
    people_of(tmp_path, "a/audios/0 bad.wav", "a/audios/1.wav", "a/audios/2.wav", "b/audios/0.wav", "b/audios/1.wav")
    people_of(tmp_path, "c/images/bad.jpg", "c/audios/0.wav")
    material, errors = evaluated(tmp_path, "clips=1")
    assert material.people == ["a", "b"] and material.photos == ["a/images/2.jpg", "b/images/0.jpg"]
    assert material.queries == ["a/audios/1.wav", "b/audios/0.wav"] and material.rows.tolist() == [0, 1]
    assert sorted(errors) == ["a/audios/0 bad.wav", "a/images/0 bad.jpg", "a/images/1 bad.jpg", "c/images/bad.jpg"]
    material, _ = evaluated(tmp_path, "encoder=resnet", "encoder.weights=random", "clips=2")
    assert material.photos == ["a/images/2.jpg", "b/images/0.jpg"] and material.queries == ["a/images/3.jpg"]


def test_no_file_is_tried_that_is_not_needed(tmp_path):
    files = [f"a/{number}" for number in range(100)]
    people_of(tmp_path, *files, *(f"b/{number} bad" for number in range(9)))
    Embedded.tried.clear()
    wanted = {"a": (files, 2), "b": ([f"b/{number} bad" for number in range(9)], 1)}
    found, embedded = embed_enough(wanted, partial(Embedded, tmp_path))
    assert found == {"a": files[:2], "b": []} and len(embedded.errors) == 9
    assert len(Embedded.tried) == len(set(Embedded.tried)) == 11


def test_a_dataset_too_small_for_a_split_is_evaluated_whole(tmp_path, caplog):
    for person in "abcdef":
        people_of(tmp_path, f"{person}/images/0.jpg", f"{person}/audios/0.wav")
    (tmp_path / "people.csv").write_text(
        "person,split\n" + "".join(f"{one},train\n" for one in "abcd") + "e,val\nf,test\n"
    )
    material, _ = evaluated(tmp_path)
    assert material.people == list("abcdef") and not material.train
    assert "split test has 1 people" in caplog.text and "split=all" in caplog.text
    assert "no training people" in caplog.text and "no attributes" in caplog.text
    with pytest.raises(UserError, match=r"1 people of split val .* split=all evaluates everybody"):
        evaluated(tmp_path, "split=validation")
    (tmp_path / "people.csv").write_text("person,split\na,train\nb,train\nc,\nd,test\ne,testing\nf,\n")
    caplog.clear()
    material, _ = evaluated(tmp_path)
    assert material.people == ["d", "e"] and material.train == ["a", "b"]
    assert "2 people have no split" in caplog.text


@pytest.mark.parametrize("where", ["x.csv", "x.csv/below"])
def test_a_root_that_is_a_file_is_said_in_one_line(run, tmp_path, where):
    words = "a file is in its way" if "/" in where else "a file, not a directory"
    (tmp_path / "x.csv").write_text("person\n")
    for more in (["pipeline=talkers", "data.people=1"], ["pipeline=prepare", "landmarks=false"]):
        error = run(*more, f"data.root={where}", status=1).stderr
        assert error.startswith("error: data.root=") and words in error and error.count("\n") == 1
    with pytest.raises(UserError, match=words):
        read_dataset(tmp_path / where)
