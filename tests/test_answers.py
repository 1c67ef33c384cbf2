"""What the page of pipeline=serve answers, without a browser and without Gradio."""

import base64
import csv
import io
import shutil
import socket
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from conftest import PHOTO, SPEECH, TINY_PAPER, run_py
from PIL import Image

from speech2face.config.compose import options_of, store_defaults
from speech2face.errors import UserError
from speech2face.pipelines.serve import prepare
from speech2face.web.answers import Answers
from speech2face.web.view import answer_html, comparison_html, error_html, npz


def answers_of(*overrides: str) -> Answers:
    store_defaults()
    return prepare(options_of("pipeline=serve", "device=cpu", *overrides))


@pytest.fixture(scope="module")
def answers() -> Answers:
    return answers_of("samples=2")


class Elements(HTMLParser):
    """The elements of a text as a browser finds them: (tag, attributes, and the tag's text up to the next tag)."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.found:
            tag, attributes, text = self.found[-1]
            self.found[-1] = tag, attributes, text + data


def content(address: str) -> bytes:
    return base64.b64decode(address.partition("base64,")[2])


def downloads(html: str) -> dict[str, bytes]:
    links = [one for tag, one, _ in Elements(html).found if tag == "a"]
    return {one["download"]: content(one["href"]) for one in links}


@pytest.mark.parametrize(("pipeline", "file"), [("speech", SPEECH), ("face", PHOTO)])
def test_the_page_gives_what_the_command_line_writes(
    answers: Answers, pipeline: str, file: Path, tmp_path: Path
) -> None:
    option = "audio" if pipeline == "speech" else "image"
    samples = ["samples=2"] if pipeline == "speech" else []
    run_py(f"pipeline={pipeline}", f"{option}={file}", "device=cpu", *samples, "hydra.run.dir=out", cwd=tmp_path)
    folder = tmp_path / "out" / file.stem
    given = downloads(answer_html(answers.answer(file, pipeline)))
    assert given.keys() == {f"{file.stem}_synthetic.png", f"{file.stem}_synthetic.npz"}
    assert given[f"{file.stem}_synthetic.png"] == (folder / "face.png").read_bytes()
    arrays = np.load(io.BytesIO(given[f"{file.stem}_synthetic.npz"]))
    np.testing.assert_array_equal(arrays["embedding"], np.load(folder / "embedding.npy"))
    np.testing.assert_array_equal(arrays["image"], np.asarray(Image.open(folder / "face.png")))
    assert str(arrays["about"]).startswith("Title: Synthetic face")
    if samples:
        for name, expected in np.load(folder / "samples.npz").items():
            np.testing.assert_array_equal(arrays[f"samples_{name}"], expected)


def test_every_face_is_marked_synthetic_in_its_file_and_to_the_eye(answers: Answers) -> None:
    shown = answer_html(answers.answer(SPEECH, "speech")) + comparison_html(answers.compare(SPEECH))
    assert "This is not a likeness" in shown
    elements = Elements(shown).found
    faces = [number for number, (tag, one, _) in enumerate(elements) if tag == "img" and "face" in one["alt"]]
    assert len(faces) == 1 + 1 + 2 + 3  # the face without and with landmarks, samples, encoders
    for number in faces:
        with Image.open(io.BytesIO(content(elements[number][1]["src"]))) as image:
            image.load()
            assert image.text["Title"] == "Synthetic face, not a photograph"
        tag, _, text = elements[number + 1]
        assert tag == "figcaption" and text.startswith("synthetic")


def test_encoders_side_by_side_are_loaded_once_when_they_are_asked_for() -> None:
    answers, loads = answers_of("samples=0", "~encoder@voices.paper"), []
    load = answers.others["ast"]
    answers.others["ast"] = lambda: [loads.append("ast"), load()][1]
    answers.answer(SPEECH, "speech")
    assert loads == []
    first, second = answers.compare(SPEECH), answers.compare(SPEECH)
    assert loads == ["ast"] and [one.weights["encoder"]["choice"] for one in first] == ["ge2e", "ast"]
    assert not np.allclose(first[0].result.embedding, first[1].result.embedding)
    np.testing.assert_array_equal(first[1].result.embedding, second[1].result.embedding)


@pytest.mark.parametrize("content", [b"", b"no sound at all"])
def test_bad_input_gets_the_line_of_the_command_line(answers: Answers, content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "x.wav"
    file.write_bytes(content)
    run_py("audio=x.wav", "hydra.run.dir=out", cwd=tmp_path, status=1)
    with open(tmp_path / "out" / "results.csv", newline="") as table:
        (row,) = csv.DictReader(table)
    for ask in (lambda: answers.answer(file, "speech"), lambda: answers.compare(file)):
        with pytest.raises(UserError) as error:
            ask()
        assert str(error.value) == f"x.wav: {row['error']}"


def test_an_upload_that_is_gone_is_asked_for_again(answers: Answers, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^x\.wav: "):
        answers.compare(tmp_path / "x.wav")


def test_names_of_files_are_text(answers: Answers, tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)> &amp; \"'.wav"
    file = Path(shutil.copy(SPEECH, tmp_path / name))
    elements = Elements(answer_html(answers.answer(file, "speech"))).found
    assert all(one["src"].startswith("data:image/png;base64,") for tag, one, _ in elements if tag == "img")
    assert {one["download"].rpartition("_")[0] for tag, one, _ in elements if tag == "a"} == {file.stem}
    ((tag, _, text),) = Elements(error_html(f"{name}: silent")).found
    assert (tag, text) == ("div", f"{name}: silent")


def test_uploads_are_removed_with_the_last_visitor_who_sent_them(answers: Answers, tmp_path: Path) -> None:
    own, shared = tmp_path / "own.wav", tmp_path / "shared.wav"
    own.touch(), shared.touch()
    for visit, file in (("first", own), ("first", shared), ("second", shared)):
        answers.remember(visit, file)
    answers.forget("first")
    assert not own.exists() and shared.exists()
    answers.forget("nobody")
    answers.forget("second")
    assert not shared.exists()


def test_keep_keeps_the_upload_and_its_results(tmp_path: Path) -> None:
    answers = answers_of("samples=0", f"keep={tmp_path}/kept")
    answers.answer(PHOTO, "face")
    answers.answer(PHOTO, "face")
    folders = list((tmp_path / "kept").iterdir())
    assert len(folders) == 2
    for folder in folders:
        assert (folder / "input.png").read_bytes() == PHOTO.read_bytes()
        assert {"face.png", "embedding.npy", "panel.png"} <= {one.name for one in folder.iterdir()}


def test_random_weights_are_said_loudly() -> None:
    answer = answers_of(*TINY_PAPER, "samples=0").answer(SPEECH, "speech")
    assert "UNTRAINED" in answer_html(answer)
    image = np.load(io.BytesIO(npz(answer)))["image"]
    np.testing.assert_array_equal(image, answer.result.face)


@pytest.mark.parametrize("wrong", [["encoder=dlib"], ["encoder@face=ge2e"], ["encoder@voices.ast=resnet"]])
def test_an_encoder_of_the_other_modality_is_refused(wrong: list[str]) -> None:
    with pytest.raises(UserError, match="pipeline=serve"):
        answers_of(*wrong)


def test_mistakes_are_one_line_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "gradio.py").write_text("raise ImportError")
    without = run_py("pipeline=serve", cwd=tmp_path, status=1, env={"PYTHONPATH": str(tmp_path)})
    assert without.stderr.startswith("error: pipeline=serve needs gradio: pip install") and "[web]" in without.stderr
    (tmp_path / "gradio.py").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run_py("pipeline=serve", f"port={port}", cwd=tmp_path, status=1, env={"PYTHONPATH": str(tmp_path)})
    assert result.stderr.startswith(f"error: port={port}: ") and result.stderr.count("\n") == 1
    assert "port=0: must be" in run_py("pipeline=serve", "port=0", cwd=tmp_path, status=1).stderr
