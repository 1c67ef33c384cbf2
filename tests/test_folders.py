"""Folders as they lie on disks: links, loops, dead links, folders that cannot be entered, and names of folders."""

import csv
import html
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import EXAMPLES, PHOTO, SPEECH, TINY_AST, tone, write_audio

from speech2face.data.dataset import read_dataset
from speech2face.data.folders import search
from speech2face.errors import UserError
from speech2face.preparation.sources import find
from speech2face.run.inputs import find_inputs


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def inputs(*sources: Path | str, modality: str = "speech") -> dict[str, str | None]:
    """By path, why an input is passed over."""
    option = "audio" if modality == "speech" else "image"
    return {str(one.path): one.skipped for one in find_inputs(sources, modality, option)}


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Bars a folder: by its mode or, for root, whom no mode bars, by an os.scandir that fails as for other users."""
    barred: set[str] = set()
    scandir = os.scandir

    def scan(path: str | Path = ".") -> object:
        if os.path.realpath(path) in barred:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    def bar(folder: Path) -> None:
        if os.geteuid():
            folder.chmod(0)
        barred.add(os.path.realpath(folder))
        monkeypatch.setattr(os, "scandir", scan)

    return bar


def test_links_are_followed_and_each_folder_and_file_is_found_once(tmp_path: Path) -> None:
    make(tmp_path, "elsewhere/a.wav", "elsewhere/deep/b.wav", "set/c.wav", "set/real/d.wav")
    for link, to in {
        "set/session": "../elsewhere",
        "set/a again": "../elsewhere",
        "set/a link": "real",  # and the real folder is in the set, too
        "set/e.wav": "c.wav",
        "set/deeper": "../elsewhere/deep",
        "elsewhere/back": "../set",
        "set/self": ".",
        "set/real/up": "../..",
        "set/ring": "ring",
    }.items():
        (tmp_path / link).symlink_to(to)
    found = [one for one in search(tmp_path / "set") if not one.problem]
    assert sorted(os.path.basename(one.real) for one in found) == ["a.wav", "b.wav", "c.wav", "c.wav", "d.wav"]
    paths = {one.path for one in found}
    assert {"c.wav", "e.wav", "real/d.wav", "a again/a.wav", "a again/deep/b.wav"} == paths
    (tmp_path / "set" / "ring").unlink()
    for source in (tmp_path / "set", tmp_path / "set" / "**" / "*.wav", tmp_path / "set" / "**"):
        there = inputs(source)
        assert len(there) == len({os.path.realpath(path) for path in there}) == 4
    assert list(inputs(tmp_path / "set" / "self" / "self" / "*.wav")) == [str(tmp_path / "set/self/self/c.wav")]
    assert set(inputs(tmp_path / "s*" / "session" / "**" / "b.wav")) == {str(tmp_path / "set/session/deep/b.wav")}


def test_globs_match_as_a_shell_does(tmp_path: Path) -> None:
    make(tmp_path, "a.wav", "b.flac", "x/a.wav", "x/y/a.wav", ".hidden/a.wav", "x/.h.wav", "brackets [1]/a.wav")

    def names(pattern: str) -> list[str]:
        return [str(Path(path).relative_to(tmp_path)) for path in inputs(tmp_path / pattern)]

    assert names("*.wav") == ["a.wav"] and names("*") == ["a.wav", "b.flac"]
    assert names("*/*.wav") == ["brackets [1]/a.wav", "x/a.wav"] and names("**/y/*") == ["x/y/a.wav"]
    assert names("**/[ab].wav") == ["a.wav", "brackets [1]/a.wav", "x/a.wav", "x/y/a.wav"]
    assert names("x/**/a.wav") == ["x/a.wav", "x/y/a.wav"] and names(".hid*/*") == [".hidden/a.wav"]
    assert names("brackets [1]") == ["brackets [1]/a.wav"] and names("?/**") == ["x/a.wav", "x/y/a.wav"]


def test_what_cannot_be_searched_is_a_row_and_a_warning(
    tmp_path: Path, lock: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path, "a.wav", "lost+found/x.wav", "sub/b.wav", "sub/locked/c.wav")
    (tmp_path / "dead.wav").symlink_to("/gone/dead.wav")
    (tmp_path / "sub" / "dead.txt").symlink_to("gone.txt")
    lock(tmp_path / "lost+found")
    lock(tmp_path / "sub" / "locked")
    for source in (tmp_path, tmp_path / "**" / "*.*"):
        caplog.clear()
        there = {os.path.relpath(path, tmp_path): skipped for path, skipped in inputs(source).items()}
        assert [path for path, skipped in there.items() if not skipped] == ["a.wav", "dead.wav", "sub/b.wav"]
        assert {path: there[path] for path in ("lost+found", "sub/locked")} == dict.fromkeys(
            ("lost+found", "sub/locked"), "passed over: no permission to enter it"
        )
        assert there["sub/dead.txt"].startswith("passed over: ")
        assert f"{tmp_path}/lost+found: no permission to enter it" in caplog.text
        assert f"{tmp_path}/dead.wav: a link to /gone/dead.wav, which is not there" in caplog.text
    assert list(inputs(tmp_path / "*.wav")) == [f"{tmp_path}/a.wav", f"{tmp_path}/dead.wav"]
    for source, words in {
        "lost+found": "no permission to enter it",
        "dead.wav": "a link to /gone/dead.wav, which is not there",
        "sub/gone": "no such file or directory",
    }.items():
        with pytest.raises(UserError, match=f"^audio={tmp_path / source}: .*{words}".replace("+", r"\+")):
            inputs(tmp_path / source)


@pytest.mark.parametrize("pattern", ["", "**/*", "*/*/*"])
def test_a_dataset_gives_its_recordings_and_photos_but_nothing_that_was_prepared(tmp_path: Path, pattern: str) -> None:
    make(tmp_path, "zoe/audios/a.wav", "zoe/images/b.jpg", "prepared/clips.parquet", "prepared/crops/c.jpg")
    make(tmp_path, "zoe/prepared/take.wav", "out/.hydra/config.yaml", "out/x/face.png")
    source = tmp_path / pattern if pattern else tmp_path
    all_expected = {"speech": ["zoe/audios/a.wav", "zoe/prepared/take.wav"], "face": ["zoe/images/b.jpg"]}
    for modality, expected in all_expected.items():
        there = inputs(source, modality=modality)
        taken = [os.path.relpath(path, tmp_path) for path, skipped in there.items() if not skipped]
        assert [path for path in taken if not path.startswith("out/")] == expected
        assert not any("crops" in path for path in there) and (pattern or "out/x/face.png" not in taken)
    assert list(inputs(tmp_path / "prepared" / "crops", modality="face")) == [f"{tmp_path}/prepared/crops/c.jpg"]
    assert list(inputs(f"{tmp_path}/prepared/*/*.jpg", modality="face")) == [f"{tmp_path}/prepared/crops/c.jpg"]


def test_normalized_faces_of_simulated_people_are_no_photos(tmp_path: Path) -> None:
    make(tmp_path, "t/images/00.png", "t/normalized.png", "other/normalized.png")
    there = [os.path.relpath(path, tmp_path) for path in inputs(tmp_path, modality="face")]
    assert there == ["other/normalized.png", "t/images/00.png"]


def test_folders_of_a_person_may_be_links_and_are_named_in_any_case(
    tmp_path: Path, lock: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "people"
    make(root, "a/Audio/1.wav", "a/Images/1.jpg", "b/AUDIOS/1.wav", "b/audio/2.wav", "b/image/1.jpg", "c/wav/1.wav")
    make(root, "d/audios/1.wav", "d/images/1.jpg", "e/audios/bad/1.wav", "f/images/x/1.jpg", "lost+found/x")
    make(tmp_path, "elsewhere/2.wav", "elsewhere/deep/3.wav", "person/audios/1.wav")
    (root / "d" / "audios" / "session1").symlink_to(tmp_path / "elsewhere")
    (root / "d" / "audios" / "loop").symlink_to("..")
    (root / "d" / "audios" / "same.wav").symlink_to("1.wav")
    (root / "g").symlink_to(tmp_path / "person")
    (root / "h").symlink_to("gone")
    (root / "e" / "audios" / "dead.wav").symlink_to("gone.wav")
    os.mkfifo(root / "a" / "Audio" / "pipe.wav")
    for folder in ("e/audios/bad", "f", "lost+found"):
        lock(root / folder)
    recordings = {
        "a": ["a/Audio/1.wav"],
        "b": ["b/AUDIOS/1.wav", "b/audio/2.wav"],
        "d": ["d/audios/1.wav", "d/audios/session1/2.wav", "d/audios/session1/deep/3.wav"],
        "g": ["g/audios/1.wav"],
    }
    photos = {"a": ["a/Images/1.jpg"], "b": ["b/image/1.jpg"], "d": ["d/images/1.jpg"]}
    files = read_dataset(root).files
    assert (dict(files["speech"]), dict(files["face"])) == (recordings, photos)
    assert f"{root}/f: no permission to enter it" in caplog.text
    for modality, expected in (("speech", recordings), ("face", photos)):
        found = find(root, modality, None, {})
        assert [one.path for one in found if not one.problem] == [path for paths in expected.values() for path in paths]
        problems = {one.path: one.problem for one in found if one.problem}
        assert problems["c"] == "no folder audios or images in it, but wav"
        assert problems["h"] == "a link to gone, which is not there"
        assert problems["f"] == problems["lost+found"] == "no permission to enter it"
        of_e = {path: problem for path, problem in problems.items() if path.startswith("e/")}
        locked = {"e/audios/bad": "no permission to enter it"}
        dead = {"e/audios/dead.wav": "a link to gone.wav, which is not there"}
        assert of_e == (dead | locked if modality == "speech" else {})


def test_a_dataset_in_another_layout_is_said_to_be_one(tmp_path: Path) -> None:
    make(tmp_path, "zoe/recordings/1.wav", "zoe/photos/1.jpg")
    with pytest.raises(UserError, match=r"zoe: no folder audios or images in it, but photos, recordings"):
        read_dataset(tmp_path)


def test_prepare_reports_what_it_cannot_follow_and_a_small_dataset_is_evaluated(run, tmp_path: Path) -> None:
    root = tmp_path / "people"
    for number, person in enumerate(("anna", "bo", "cy")):
        folder = root / person
        (folder / "image").mkdir(parents=True)
        (folder / "Audio").mkdir()
        shutil.copy(PHOTO, folder / "image" / "1.png")
        with open(folder / "image" / "1.png", "ab") as file:
            file.write(bytes(number))  # another file, the same photo
        write_audio(folder / "Audio" / "1.wav", tone(1.0, 16_000, 200 + 50 * number), 16_000, "pcm_s16le")
        (folder / "Audio" / "1.txt").write_text("what was said")
    (root / "bo" / "Audio" / "session").symlink_to(EXAMPLES)
    (root / "cy" / "Audio" / "dead").symlink_to("/gone")
    (root / "docs").mkdir()
    table = "Person; Gender; Age; Status\nAnna; W; 30,5; x\nBO; Male; 41; y\ncy; m; 50,25; z\n"
    (root / "people.csv").write_text(table)
    said = run("pipeline=prepare", "data.root=people", "landmarks=false", "workers=1").stderr
    assert "people/docs: no folder audios or images in it" in said
    clips = {row["path"]: row for row in pq.read_table(root / "prepared" / "clips.parquet").to_pylist()}
    linked, dead = clips[f"bo/Audio/session/{SPEECH.name}"], clips["cy/Audio/dead"]
    assert (linked["status"], linked["sex"]) == ("ok", "male")
    assert (dead["status"], dead["problem"]) == ("failed", "a link to /gone, which is not there")
    assert not any(path.endswith(".txt") for path in clips)
    report = html.unescape((root / "prepared" / "report.html").read_text())
    assert report.count("<td>docs</td>") == 1 and "<td>cy/Audio/dead</td>" in report
    with open(root / "prepared" / "people.csv", newline="") as file:
        people = {row["person"]: row for row in csv.DictReader(file)}
    assert people.keys() == {"anna", "bo", "cy"}
    told = [(row["sex"], row["age"]) for row in people.values()]
    assert told == [("female", "30.5"), ("male", "41"), ("male", "50.25")]
    again = run("pipeline=prepare", "data.root=people", "landmarks=false", "workers=1").stderr
    assert "measured 0 clips, 0 faces" in again
    quick = [*TINY_AST, "face.weights=random", "face.preprocessing.crop=none", "samples=20", "pictures=2", "device=cpu"]
    said = run("pipeline=evaluate", "data.root=people", *quick, "hydra.run.dir=out").stderr
    assert "all 3 people are evaluated" in said and (tmp_path / "out" / "metrics.json").exists()
