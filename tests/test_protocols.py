"""Published protocols on synthetic copies of their folders and lists, and the studies, by the documented commands."""

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, run_py
from sklearn.metrics import roc_auc_score

from speech2face.config.compose import options_of, store_defaults
from speech2face.data.dataset import read_dataset
from speech2face.errors import UserError
from speech2face.preparation.splits import read_splits

store_defaults()
PEOPLE = 12
NAMES = [f"A.{'abcdefghijkl'[i].upper()}._Person" for i in range(PEOPLE)]
FACE = ["encoder@face=resnet", "face.weights=random", "face.model.width=0.125", "face.preprocessing.size=64"]
FACE += ["face.preprocessing.crop=none", "workers=1"]
SMALL = ["encoder.weights=random", "decoder.weights=random", "decoder.model.width=0.02", "samples=20", "pictures=4"]
AST = ["encoder=ast_tiny", "encoder.model.depth=1", "encoder.model.stride=16", "preprocessing.window_seconds=2"]


def documented(section: str) -> list[list[str]]:
    """The words of the commands in a section of docs/evaluation.md, without `python run.py`."""
    text = (ROOT / "docs" / "evaluation.md").read_text().partition(f"## {section}\n")[2].partition("\n## ")[0]
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    assert lines and all(line.startswith("python run.py ") for line in lines)
    return [shlex.split(line)[2:] for line in lines]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directories that the documentation names, with talkers in the layouts of each dataset."""
    home = tmp_path_factory.mktemp("protocols")
    made = [f"data.people={PEOPLE}", "data.clips=2", "data.photos=2", "data.seconds=2"]
    run_py("pipeline=talkers", "data.root=talkers", *made, cwd=home)
    talkers = sorted(path for path in (home / "talkers").glob("talker-*") if path.is_dir())
    (home / "people").symlink_to("talkers")
    meta, v1_meta, splits = ["VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet"], ["ids,name,gender"], []
    trials, test = ["id,voice-speaker-id,face-speaker-id,label,voice-path,face-path"], []
    for i, (talker, name) in enumerate(zip(talkers, NAMES, strict=True)):
        photos, clips = sorted((talker / "images").iterdir()), sorted((talker / "audios").iterdir())
        for number, clip in enumerate(clips):
            link(home / f"voxceleb1/wav/id1{i:04}/video{number}/00001.wav", clip)
            link(home / f"voxceleb1/wav_by_name/{name}/video{number}_0000001.wav", clip)
            link(home / f"mavceleb_v1_train/voices/id{i:04}/English/video/{number:05}.wav", clip)
        for number, photo in enumerate(photos):
            link(home / f"HQ-VoxCeleb/vox1/masked_faces/{name}/{number}.jpg", photo)
            link(home / f"voxceleb1/unzippedFaces/{name}/1.6/video/{number:07}.jpg", photo)
            link(home / f"voxceleb1/faces_by_name/{name}/video/{number:07}.jpg", photo)
            link(home / f"mavceleb_v1_train/faces/id{i:04}/English/video/{number}.jpg", photo)
        link(home / f"mavceleb_v1_test/voices/English/{i:05}.wav", clips[0])
        link(home / f"mavceleb_v1_test/faces/English/{i:05}.jpg", talkers[i // 2].joinpath("images/00.png"))
        meta.append(f"id1{i:04}\t{name}\t{'mf'[i % 2]}\t{('Norway', 'USA')[i // 6]}\t{'dev' if i % 4 else 'test'}")
        v1_meta.append(f"id{i:04},{name},{('Male', 'Female')[i % 2]}")
        splits.append(f"{name} {4 if i >= 4 else 1 + i % 2}")
        other = (i + 1) % PEOPLE
        trials.append(f"{2 * i},{i},{i},1,{name}/video0_0000001.wav,{name}/video/0000000.jpg")
        trials.append(f"{2 * i + 1},{i},{other},0,{name}/video0_0000001.wav,{NAMES[other]}/video/0000001.jpg")
        test.append(f"trial{i:03} voices/English/{i:05}.wav faces/English/{i:05}.jpg")
    split = {part: [name for i, name in enumerate(NAMES) if i % 4 in rows] for part, rows in SPLIT.items()}
    (home / "v1").mkdir()
    for file, content in (
        ("vox1_meta.csv", meta),
        ("v1_meta.csv", v1_meta),
        ("identity_splits.txt", splits),
        ("veriflist_test_random_unseenunheard.txt", trials),
        ("v1/English_test.txt", test),
        ("split.json", [json.dumps({"vox1": split, "vox2": {"train": [], "val": [], "test": []}})]),
    ):
        (home / file).write_text("\n".join(content) + "\n")
    return home


SPLIT = {"train": (0,), "val": (1,), "test": (2, 3)}


def link(path: Path, to: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(to)


def run(home: Path, words: list[str], out: Path) -> dict:
    """Run a documented command with small networks. Returns metrics.json of an evaluation."""
    small = FACE if "pipeline=prepare" in words else [*FACE, *AST, *SMALL]
    if "pipeline=prepare" in words:
        small = [*small, "landmarks=false"]
    run_py(*words, *small, f"hydra.run.dir={out}", f"hydra.sweep.dir={out}", cwd=home)
    return json.loads((out / "metrics.json").read_text()) if (out / "metrics.json").exists() else {}


def read(file: Path) -> list[dict[str, str]]:
    with open(file, newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def runs(home: Path) -> dict[str, tuple[Path, dict]]:
    """Every command of the section Protocols: its output directory and its metrics.json, by the words that tell it."""
    found = {}
    commands = documented("Protocols")
    assert ["protocol=speech2face", "data.root=people"] in commands  # what experiment=duration sweeps
    commands.remove(["protocol=speech2face", "data.root=people"])
    for number, words in enumerate(commands):
        name = " ".join(word for word in words if re.match(r"(protocol|experiment|trials|data.root)=", word))
        found[name] = (home / f"out{number}", run(home, words, home / f"out{number}"))
    return found


def test_hq_voxceleb_is_split_as_by_sf2f_and_compared_per_person(runs, home):
    _, found = runs["protocol=hq_voxceleb data.root=hq"]
    assert read_dataset(home / "hq").split("test") == [f"id1{i:04}" for i in (2, 3, 6, 7, 10, 11)]
    assert found["people"] == found["queries"] == 6  # of two recordings each
    assert found["protocol"] == "hq_voxceleb" and found["published"][0]["system"] == "Vox2Face (2026)"
    groups = {name.split("/")[2] for name in found["metrics"] if name.startswith("association/")}
    assert groups == {"all", "same_sex", "same_nationality"}


def test_voxceleb1_is_evaluated_on_people_neither_seen_nor_heard(runs, home):
    _, found = runs["protocol=voxceleb1_unseen_unheard data.root=vox1"]
    assert read_dataset(home / "vox1").split("test") == [f"id1{i:04}" for i in range(4, PEOPLE)]
    assert found["people"] == 8 and found["queries"] == 16
    published = {name for row in found["published"] for name in row} - {"system", "source"}
    assert len(published) == 4 and published <= found["metrics"].keys()


def test_a_labelled_list_gives_an_error_rate(runs):
    out, found = runs["protocol=voxceleb1_unseen_unheard trials=veriflist_test_random_unseenunheard.txt"]
    rows = read(out / "trials.csv")
    same, scores = [row["same"] == "1" for row in rows], [float(row["cosine"]) for row in rows]
    assert found["trials"] == len(rows) == 2 * PEOPLE and sum(same) == PEOPLE
    area = found["metrics"]["association/verification/listed/auc"]
    assert area["value"] == pytest.approx(roc_auc_score(same, scores)) and area["low"] <= area["value"] <= area["high"]
    assert "association/verification/listed/equal_error_rate" in found["metrics"]


def test_fame_has_a_score_for_every_trial_in_its_order(runs, home):
    out, found = runs["protocol=fame trials=v1/English_test.txt"]
    lines = [line.split(" ") for line in (out / "submission.txt").read_text().splitlines()]
    listed = [line.split(" ")[0] for line in (home / "v1" / "English_test.txt").read_text().splitlines()]
    cosines = np.array([float(row["cosine"]) for row in read(out / "trials.csv")])
    assert [name for name, _ in lines] == listed and not found["metrics"]
    assert np.allclose([float(score) for _, score in lines], np.sqrt(2 - 2 * cosines), atol=1e-4)
    assert len(set(cosines)) > 6 and found["published"][0]["association/verification/listed/equal_error_rate"] == 0.199
    assert runs["protocol=fame data.root=mav"][1]["people"] == PEOPLE


def test_speech2face_is_swept_over_the_length(runs):
    out, _ = runs["protocol=speech2face experiment=duration data.root=people"]
    assert json.loads((out / "1" / "metrics.json").read_text())["protocol"] == "speech2face"
    heard = [json.loads((out / job / "run.json").read_text())["overrides"] for job in "01"]
    assert [next(one for one in job if "max_seconds" in one) for job in heard] == [
        f"encoder.preprocessing.max_seconds={seconds}" for seconds in (3, 6)
    ]
    header = (out / "comparison.csv").read_text().partition("\n")[0]
    assert "preprocessing.max_seconds=3" in header and "preprocessing.max_seconds=6" in header


def test_the_other_studies_compare_their_jobs(home):
    table = home / "talkers" / "people.csv"
    rows = read(table)
    for i, row in enumerate(rows):
        row["language"] = "en" if i % 2 else "de"
    with open(table, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    studies = {words[0]: words for words in documented("Studies")}
    tiny = ["decoder.weights=random", "decoder.model.width=0.02", "encoder.model.depth=1", "logger=csv"]
    for name, swept, more in (
        ("language", "data.where={language: en},{language: de}", [*SMALL, *AST]),
        ("pairing", "training.pairing=all_to_all,one_to_one", [*tiny, "trainer.max_epochs=1"]),
    ):
        words = [word for word in studies[f"experiment={name}"] if not word.startswith("trainer.")]
        run_py(*words, *FACE, *more, swept, f"hydra.sweep.dir={home / name}", cwd=home)
        table = read(home / name / "comparison.csv")
        jobs = [path for path in (home / name).iterdir() if path.name.isdigit()]
        assert len(jobs) == 2 and len(table) > 5
        if name == "language":
            counts = [json.loads((job / "metrics.json").read_text())["people"] for job in jobs]
            assert counts == [PEOPLE // 2, PEOPLE // 2]
        else:
            assert all(float(table[0][f"training.pairing={one}"]) > 0 for one in ("all_to_all", "one_to_one"))
    options = options_of(*studies["experiment=consistency"])
    assert options.pipeline.name == "evaluate" and options.clips == 10 and options.split == "all"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trials=nowhere.txt"], "trials=nowhere.txt: No such file"),
        (["trials=v1/English_test.txt"], "no voices/English/00000.wav in"),
        (["trials=v1/English_test.txt", "encoder=resnet"], "data.audios="),
        (["protocol=nothing"], "protocol/nothing"),
        (["protocol=null"], "protocol=null"),
    ],
)
def test_mistakes_are_one_line(home, arguments, words):
    error = run_py("pipeline=evaluate", *arguments, "encoder.weights=random", cwd=home, status=1).stderr
    assert words in error and error.count("\n") == 1, error


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ann 1\nBo 5\n", "line 2: not NAME SPLIT"),
        ('{"train": ["Ann"], "test": ["Ann"]}', "Ann is in split train and in split test"),
        ('{"train": ["Ann"], "test": ["id1"]}', "id1 is in split"),
        ('["Ann"]', "line 1: not NAME SPLIT"),
        ('{"train": "Ann"}', "needs lists of names"),
        ('{"train": ["Ann"', "not JSON"),
        ("Zoe 1\n", "no name in it fits a folder, such as Zoe"),
    ],
)
def test_what_is_wrong_in_a_list_of_splits_is_said(tmp_path: Path, text: str, words: str):
    (tmp_path / "splits").write_text(text)
    with pytest.raises(UserError, match=words):
        read_splits(tmp_path / "splits", {"face": {"Ann": "id1"}, "speech": {"id1": "id1"}}, {"id1", "id2"})


def test_a_list_of_splits_names_people_or_their_folders(tmp_path: Path):
    (tmp_path / "splits").write_text("Ann 4\nid2 2\n\nid3 3\n")
    joined = {"face": {"Ann": "id1"}, "speech": {"id1": "id1"}}
    assert read_splits(tmp_path / "splits", joined, {"id1", "id2", "id3"}) == {
        "id1": "test",
        "id2": "val",
        "id3": "train",
    }
