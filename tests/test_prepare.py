"""Preparation as typed: what is in a folder as people have it, and what training and evaluation make of that."""

import html
import os
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import start_py, write_audio
from deadly import Deadly
from PIL import Image
from test_training import rows, train

from speech2face.data.dataset import read_dataset
from speech2face.pipelines.prepare import measure_all
from speech2face.preparation.finish import assign_splits
from speech2face.preparation.manifest import Part, read_part
from speech2face.preparation.normalized import best_photos
from speech2face.preparation.sources import File, read_names
from speech2face.preprocessing.audio import dbfs
from speech2face.preprocessing.decode import decode
from speech2face.talkers.population import landmarks
from speech2face.talkers.traits import draw_person

PEOPLE = 12
MANIFESTS = ("clips.parquet", "faces.parquet", "normalized.parquet", "people.csv", "statistics.json")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a dataset of twelve people, as it was made."""
    home = tmp_path_factory.mktemp("prepare")
    train(home, "pipeline=talkers", "data.root=made", f"data.people={PEOPLE}", "data.clips=2", "data.seconds=2.0")
    shutil.copytree(home / "made" / "prepared", home / "talkers" / "prepared")
    shutil.rmtree(home / "made" / "prepared")
    shutil.copytree(home / "made" / "talker-0-000000", home / "talkers" / "talker-0-000000")
    for person in (home / "made").glob("talker-*"):
        (person / "normalized.png").unlink()
    return home


def prepare(home: Path, root: str, *more: str, workers: int = 1, **options: object) -> str:
    return train(home, "pipeline=prepare", f"data.root={root}", f"workers={workers}", *more, **options).stderr


def manifest(root: Path, name: str) -> dict[str, dict]:
    return {row["path"]: row for row in pq.read_table(root / "prepared" / f"{name}.parquet").to_pylist()}


@pytest.fixture(scope="module")
def degraded(home: Path) -> tuple[Path, dict[str, tuple[str, str]]]:
    """A dataset with everything wrong with it, prepared; and what was planted: path or person -> status, problem."""
    root = home / "degraded"
    shutil.copytree(home / "made", root)
    a, b, c, d, e, f, g, *_ = sorted(path for path in root.iterdir() if path.is_dir())
    (a / "audios" / "00.flac").rename(a / "audios" / "no extension at all")
    (a / "images" / "00.png").rename(a / "images" / "portrait.mp3")
    sound = (b / "audios" / "00.flac").read_bytes()
    (b / "audios" / "00.flac").write_bytes(sound[: len(sound) // 2])
    (b / "audios" / "empty.wav").touch()
    (b / "audios" / "notes.wav").write_text("not sound")
    write_audio(b / "audios" / "silent.wav", np.zeros(16000), 16000, "pcm_s16le")
    (b / "audios" / ".DS_Store").write_text("hidden")
    photo = Image.open(c / "images" / "00.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    photo.transpose(Image.Transpose.ROTATE_90).save(c / "images" / "turned.jpg", quality=95, exif=exif)
    both = Image.new("RGB", (448, 224))
    both.paste(photo, (0, 0))
    both.paste(Image.open(d / "images" / "00.png"), (224, 0))
    both.save(c / "images" / "two.png")
    Image.linear_gradient("L").save(d / "images" / "landscape.png")
    png = (d / "images" / "01.png").read_bytes()
    (d / "images" / "cut.png").write_bytes(png[: len(png) // 2])
    shutil.copy(e / "audios" / "00.flac", e / "audios" / "zz same.flac")
    shutil.copy(e / "images" / "02.png", f / "images" / "somebody else's.png")
    Image.open(e / "images" / "01.png").resize((300, 300)).save(f / "images" / "stranger.png")
    shutil.rmtree(f / "audios")
    shutil.rmtree(g / "images")
    long = "ж" * 120 + ".flac"  # 245 bytes
    (e / "audios" / "01.flac").rename(e / "audios" / long)
    unicode = root / "Zoë & <山田>"
    table = root / "people.csv"
    table.write_text("".join(line for line in table.open() if not line.startswith(f"{e.name},")))
    e.rename(unicode)
    with open(os.fsencode(d / "audios") + b"/\xff.flac", "wb") as file:
        file.write(sound)
    names = {path: path.name for path in (a, b, c, d, f, g)}
    planted = {
        f"{names[b]}/audios/00.flac": ("ok", "cut short"),
        f"{names[b]}/audios/empty.wav": ("failed", "empty"),
        f"{names[b]}/audios/notes.wav": ("failed", "not audio"),
        f"{names[b]}/audios/silent.wav": ("failed", "silent"),
        f"{names[c]}/images/two.png": ("ok", "2 faces"),
        f"{names[d]}/images/landscape.png": ("failed", "no face"),
        f"{names[d]}/images/cut.png": ("failed", "cut short"),
        f"{unicode.name}/audios/zz same.flac": ("duplicate", "same content as Zoë & <山田>/audios/00.flac"),
        f"{names[f]}/images/somebody else's.png": ("duplicate", "same content as Zoë & <山田>/images/02.png"),
        f"{names[f]}/images/stranger.png": ("ok", "does not look like the other photos"),
        f"{names[d]}/audios/\\xff.flac": ("failed", "not UTF-8"),
        names[f]: ("", "no recording"),
        names[g]: ("", "no photo"),
    }
    prepare(home, "degraded", workers=2)
    return root, planted


def test_report_and_manifest_name_every_problem_and_nothing_else(degraded):
    root, planted = degraded
    found = manifest(root, "clips") | manifest(root, "faces")
    report = html.unescape((root / "prepared" / "report.html").read_text())
    told = dict(re.findall(r"<td>([^\n]*?)</td><td>([^\n]*?)</td><td>", report.split("Problems:")[1]))
    for where, (status, problem) in planted.items():
        assert problem in told[where], where
        if status:
            assert found[where]["status"] == status and problem in found[where]["problem"], where
    assert {path for path, row in found.items() if row["problem"]} == {path for path in planted if "/" in path}
    assert not any(".DS_Store" in path for path in found)
    assert (
        'src="data:image' in report and 'src="data:audio' in report and not re.search(r"(src|href)=.(?!data:)", report)
    )  # self-contained
    files = {os.path.relpath(file, root) for file in root.rglob("*/[!.]*") if file.is_file()}
    there = {file for file in files if not file.startswith("prepared") and "\udcff" not in file}
    assert there <= found.keys()


def test_a_normalized_face_is_of_a_photo_without_problems_if_there_is_one() -> None:
    frontal = landmarks([draw_person(0, 1)], None)[0].reshape(72, 2)
    turned = frontal.copy()
    turned[:17, 0] -= 10  # the chin's left side is further off
    flag = "does not look like the other photos of this person"
    photos = [("one", "a", frontal, flag), ("one", "b", turned, "")]
    photos += [("two", "c", turned, flag), ("two", "d", frontal, flag)]
    common = {"split": "train", "status": "ok", "sha256": ""}
    rows = [
        common | {"person": person, "path": path, "problem": problem, "landmarks": points.ravel().tolist()}
        for person, path, points, problem in photos
    ]
    assert {row["person"]: row["path"] for row in best_photos(pa.Table.from_pylist(rows))} == {"one": "b", "two": "d"}


def test_rows_say_what_independent_readers_say(home, degraded):
    root, _ = degraded
    clips, faces = manifest(root, "clips"), manifest(root, "faces")
    whole = [row for row in clips.values() if row["status"] == "ok" and not row["problem"]]
    for row in whole[:6]:
        waveform = decode(root / row["path"], max_seconds=None).waveform
        assert row["seconds"] == pytest.approx(len(waveform) / 16000, abs=0.01)
        assert row["level_dbfs"] == pytest.approx(dbfs(waveform), abs=0.01) and row["speech_share"] > 0.6
        assert row["bytes"] == (root / row["path"]).stat().st_size
    traits = {row["person"]: row for row in rows(home / "made" / "people.csv")}
    known = [row for row in whole if row["person"] in traits]
    assert known and all(row["sex"] == traits[row["person"]]["sex"] for row in known)
    assert all(row["split"] == traits[row["person"]]["split"] for row in known)
    # Turned upright, a photo has its landmarks where they were.
    person = next(path for path in faces if path.endswith("turned.jpg")).partition("/")[0]
    turned, upright = (np.array(faces[f"{person}/images/{name}"]["landmarks"]) for name in ("turned.jpg", "00.png"))
    assert np.abs(turned - upright).mean() < 1.5
    # The renderer's own landmarks, against dlib's.
    from speech2face.talkers.population import landmarks
    from speech2face.talkers.traits import draw_person

    true = landmarks([draw_person(0, int(person[-6:]))], [0])[0].reshape(72, 2)
    assert np.linalg.norm(upright.reshape(72, 2) - true, axis=1).mean() < 5
    with Image.open(root / faces[f"{person}/images/00.png"]["crop"]) as crop:
        assert crop.size == (224, 224)


def test_statistics_are_those_that_the_front_end_then_brings_to_zero_and_a_half(home, degraded):
    from speech2face.preprocessing.audio import Audio
    from speech2face.preprocessing.fbank import LogMelFilterBank

    root, _ = degraded
    log = prepare(home, "degraded", "hydra.run.dir=again")
    mean, std = (float(re.search(rf"features.{name}=(\S+)", log)[1]) for name in ("mean", "std"))
    front_end = Audio(LogMelFilterBank(max_frames=None, mean=mean, std=std), window_seconds=None)
    paths = [
        row["path"] for row in manifest(root, "clips").values() if row["status"] == "ok" and row["split"] == "train"
    ]
    values = np.concatenate([front_end(root / path).features.numpy().ravel() for path in paths])
    assert values.mean() == pytest.approx(0, abs=1e-3) and values.std() == pytest.approx(0.5, abs=1e-3)


def test_training_and_evaluation_read_what_was_prepared(home, degraded):
    root, _ = degraded
    good = {path for path, row in manifest(root, "clips").items() if row["status"] == "ok"}
    dataset = read_dataset(root)
    assert {path for person in dataset.files["speech"] for path in dataset.files["speech"][person]} == good
    voice = ["encoder=ast_tiny", "encoder.model.depth=1", "encoder.model.stride=16", "encoder.model.max_frames=98"]
    voice += ["preprocessing.features.max_frames=98", "preprocessing.window_seconds=1.0", "device=cpu", "workers=1"]
    out = train(
        home, "pipeline=train_voice", "data.root=degraded", *voice, "trainer.max_epochs=1", "batch_size=4",
        "training.balanced=true", "hydra.run.dir=voice",
    ).stderr  # fmt: skip
    assert "photos: " not in out, "the prepared features were not used"
    found = train(
        home, "pipeline=evaluate", "data.root=degraded", "encoder.weights=voice/weights/best", "encoder=ast_tiny",
        "pipeline.split=all", "pipeline.samples=20", "device=cpu", "hydra.run.dir=evaluate",
    ).stderr  # fmt: skip
    assert "0 failed" in found and (home / "evaluate" / "metrics.json").exists()
    train(
        home, "pipeline=train_decoder", "data.root=degraded", "decoder.model.width=0.03", "decoder.weights=random",
        "trainer.max_epochs=1", "batch_size=4", "device=cpu", "workers=1", "hydra.run.dir=decoder",
    )  # fmt: skip


def test_launchers_agree_and_a_killed_run_is_completed(home):
    """One process; a sweep over shards, of which one worker is killed; and more files later: the same bytes."""
    others = shutil.ignore_patterns("talker-0-00000[6-9]", "talker-0-00001?")  # six people are enough
    for name in ("one", "many"):
        shutil.copytree(home / "made", home / name, ignore=others)
    held_back = sorted((home / "many").glob("*/audios/01.flac"))[:5]
    for file in held_back:
        file.rename(home / f"{file.parts[-3]}.flac")
    prepare(home, "one")
    command = ["-m", "pipeline=prepare", "data.root=many", "shards=3", "shard=range(0,3)"]
    command += ["hydra/launcher=joblib", "hydra.launcher.n_jobs=1"]
    killed = start_py(*command, cwd=home)
    parts = home / "many" / "prepared" / "parts"
    while killed.poll() is None and not (parts.exists() and any(part.stat().st_size for part in parts.iterdir())):
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    one = next(part for part in parts.iterdir() if part.stat().st_size)
    with open(one, "ab") as file:  # as if it had died within a write
        file.write(one.read_bytes()[:1000])
    train(home, *command, "hydra.sweep.dir=sweep")
    assert not (home / "many" / "prepared" / "clips.parquet").exists()
    prepare(home, "many", workers=2)
    for file in held_back:
        (home / f"{file.parts[-3]}.flac").rename(file)
    assert "measured 5 clips, 0 faces" in prepare(home, "many", workers=2)
    for name in MANIFESTS:
        a, b = (home / root / "prepared" / name for root in ("one", "many"))
        if name in ("clips.parquet", "faces.parquet"):  # times of copies differ
            a, b = (pq.read_table(file).drop_columns("mtime_ns") for file in (a, b))
            assert a.equals(b), name
        else:
            assert a.read_bytes() == b.read_bytes(), name
    assert "another run is writing" not in prepare(home, "many", "shard=1", "shards=3")


def test_voxceleb_like_roots_are_joined_by_its_table(home):
    made = sorted(path for path in (home / "made").iterdir() if path.is_dir())[:3]
    for i, person in enumerate(made):
        shutil.copytree(person / "audios", home / "wav" / f"id1000{i}" / "1zcIwhmdeo4")
        shutil.copytree(person / "images", home / "photos" / f"A.J._Person_{i}")
    table = "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\n"
    table += "".join(
        f"id1000{i}\tA.J._Person_{i}\t{'mf'[i % 2]}\tIreland\t{'dev' if i else 'test'}\n" for i in range(3)
    )
    (home / "vox1_meta.csv").write_text(table)
    where = ["data.audios=wav", "data.images=photos", "data.names=vox1_meta.csv"]
    prepare(home, "joined", *where)
    people = {row["person"]: row for row in rows(home / "joined" / "prepared" / "people.csv")}
    assert people.keys() == {"id10000", "id10001", "id10002"} and people["id10000"]["split"] == "test"
    assert people["id10001"]["sex"] == "female" and people["id10001"]["nationality"] == "Ireland"
    dataset = read_dataset(home / "joined")
    for i in range(3):
        for modality, count in (("speech", 2), ("face", 3)):
            paths = dataset.files[modality][f"id1000{i}"]
            assert len(paths) == count and all((dataset.root / path).exists() for path in paths)
    error = prepare(home, "joined", *where[:2], "data.names=wav/id10000/1zcIwhmdeo4/00.flac", status=1)
    assert error.splitlines()[-1].startswith("error: data.names=") and len(error.splitlines()) == 1


def test_vox2_table_with_commas_and_spaces(tmp_path):
    table = tmp_path / "vox2_meta.csv"
    table.write_text("VoxCeleb2 ID ,VGGFace2 ID ,Gender ,Set \nid00012 ,n000012 ,m ,dev \nid00013 ,n000013 ,f ,test \n")
    joined, traits = read_names(table, {"speech": ["id00012", "id00013"], "face": ["n000013"]})
    assert joined["face"]["n000013"] == "id00013"
    assert traits["id00013"] == {"sex": "female", "split": "test"} and traits["id00012"]["split"] == ""


def test_splits_keep_the_shares_in_every_stratum_and_are_kept():
    people = [f"p{i}" for i in range(400)]
    traits = {person: {"sex": "mf"[i % 2], "age": str(20 + i % 60)} for i, person in enumerate(people)}
    splits = assign_splits(people, traits, {}, 0)
    for sex in "mf":
        for split, share in (("train", 0.8), ("val", 0.1), ("test", 0.1)):
            members = [person for person in people if traits[person]["sex"] == sex]
            assert sum(splits[person] == split for person in members) == pytest.approx(share * len(members), abs=2)
    assert assign_splits(people[::-1], traits, {}, 0) == splits and assign_splits(people, traits, {}, 1) != splits
    grown = assign_splits([*people, "new", "newer"], traits, splits, 0)
    assert all(grown[person] == splits[person] for person in people)
    told = assign_splits(people, traits | {"p7": {"split": "val"}}, splits, 0)
    assert told["p7"] == "val"


def test_a_file_that_kills_its_reader_is_a_row_and_stops_nothing(tmp_path):
    files = [File(f"p{i // 3}", f"{i}.jpg", i, 0) for i in range(12)]
    files[4] = File("p1", "deadly.jpg", 4, 0)
    part = Part(tmp_path / "part", "faces", {})
    measure_all(tmp_path, {"faces": files}, {"faces": part}, Deadly, 2)
    rows = {row["path"]: row for row in read_part(tmp_path / "part")[0].to_pylist()}
    assert rows.keys() == {file.path for file in files}
    assert [path for path, row in rows.items() if row["error"]] == ["deadly.jpg"]
    assert all(row["width"] == 7 for path, row in rows.items() if path != "deadly.jpg")


def test_mistakes_are_one_line(home):
    for arguments, expected in (
        (["data.root=nowhere"], "no such directory"),
        (["data.root=made", "shard=16"], "from 0 to 15"),
        ([], "data.root="),
        (["data.root=made", "data.images=nowhere"], "data.images="),
        (["data.root=talkers"], "not of pipeline=prepare"),
    ):
        error = train(home, "pipeline=prepare", *arguments, status=1).stderr
        assert error.startswith("error: ") and expected in error and error.count("\n") == 1
