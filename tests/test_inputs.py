"""Which files a run is about, and their names."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech2face.errors import UserError
from speech2face.run.inputs import find_inputs, unique_names


def make(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).touch()


def test_directories_globs_and_lists(tmp_path: Path) -> None:
    make(tmp_path, "b.wav", "a.mp3", "sub/c.flac", "sub/deep/d.mp4", ".hidden.wav", ".git/e.wav")

    def names(*sources: str) -> list[str]:
        return [one.path.name for one in find_inputs([str(tmp_path / source) for source in sources], "speech", "audio")]

    assert names("") == ["a.mp3", "b.wav", "c.flac", "d.mp4"]
    assert names("*.wav") == ["b.wav"]
    assert names("**/*.flac") == ["c.flac"]
    assert names("sub", "b.wav", "") == ["c.flac", "d.mp4", "b.wav", "a.mp3"]  # each file once, as first met
    for source in ("none.wav", "*.ogg"):
        with pytest.raises(UserError, match="no "):
            names(source)


def test_a_search_leaves_out_pipes_and_the_output_of_runs(tmp_path: Path) -> None:
    make(tmp_path, "a.wav", "out/.hydra/config.yaml", "out/run.json", "out/a/face.png")
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "again.wav").symlink_to(tmp_path / "a.wav")
    assert [one.path.name for one in find_inputs([tmp_path], "speech", "audio")] == ["a.wav"]
    with pytest.raises(UserError, match="not a regular file"):
        find_inputs([tmp_path / "pipe.wav"], "speech", "audio")


def test_a_search_passes_over_other_media_but_a_named_file_is_an_input(tmp_path: Path) -> None:
    make(tmp_path, "a.wav", "a.trans.txt", "b.jpg", "c.unknown", "d.mp4")
    speech = {one.path.name: one.skipped for one in find_inputs([tmp_path], "speech", "audio")}
    assert [name for name, skipped in speech.items() if skipped] == ["a.trans.txt", "b.jpg"]
    face = {one.path.name: one.skipped for one in find_inputs([tmp_path], "face", "image")}
    assert [name for name, skipped in face.items() if not skipped] == ["b.jpg", "c.unknown"]
    assert find_inputs([tmp_path / "b.jpg"], "speech", "audio")[0].skipped is None


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/x/a.wav", "/x/b.wav"], ["a", "b"]),
        (["/x/id1/a.wav", "/x/id2/a.wav", "/x/id2/b.wav"], ["id1/a", "id2/a", "b"]),
        (["/x/a.wav", "/x/a.mp3"], ["a.wav", "a.mp3"]),
        (["/p/1/v/a.wav", "/q/1/v/a.wav"], ["p/1/v/a", "q/1/v/a"]),
        (["/x/run.json.wav", "/x/.hydra.wav", "/x/...wav"], ["run.json.wav", ".hydra.wav", "...wav"]),
        (["/x/A.wav", "/y/a.wav"], ["x/A", "y/a"]),
        (["/x/A.wav", "/x/a.WAV"], ["A.wav", "a.WAV~2"]),
    ],
)
def test_names_are_stems_with_the_folders_that_tell_them_apart(paths: list[str], names: list[str]) -> None:
    assert unique_names(paths) == names


@given(
    st.lists(st.from_regex(r"/([aAbé]{1,2}/){0,3}[aAb.é]{1,3}\.(wav|mp3)", fullmatch=True), unique=True, max_size=12)
)
def test_names_are_unique_and_stay_inside(paths: list[str]) -> None:
    names = unique_names(paths)
    assert len({name.casefold() for name in names}) == len(paths)
    assert all(part not in ("", ".", "..") for name in names for part in name.split("/"))
