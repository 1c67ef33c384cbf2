"""The page of pipeline=serve in a browser: Chromium of the distribution, driven by Playwright."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from conftest import EXAMPLES, PHOTO, ROOT, SPEECH, write_audio

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

for package in ("gradio", "playwright"):
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed", allow_module_level=True)
if not (CHROMIUM := shutil.which("chromium")):
    pytest.skip("there is no Chromium", allow_module_level=True)

WOMAN = EXAMPLES / "alsa_female.flac"
MEGABYTES = 15  # the largest upload
HEARD, SEEN, SIDE = "What was heard", "What was seen", "Encoders side by side"


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server has its temporary files."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def address(uploads: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the page. At the end the server is interrupted, and must leave nothing that was uploaded."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    directory = tmp_path_factory.mktemp("page")
    options = [f"port={port}", f"max_megabytes={MEGABYTES}", "samples=2", "hydra.run.dir=run"]
    with open(directory / "output", "w") as output:
        server = subprocess.Popen(
            [sys.executable, ROOT / "run.py", "pipeline=serve", *options],
            cwd=directory, env=os.environ | {"TMPDIR": str(uploads)}, stdout=output, stderr=output,
        )  # fmt: skip
    wait_for(lambda: "page is at" in (directory / "output").read_text() or server.poll() is not None, 120)
    assert server.poll() is None, (directory / "output").read_text()
    yield f"http://127.0.0.1:{port}"
    server.send_signal(signal.SIGTERM)
    said = (directory / "output").read_text
    assert server.wait(30) == 0, said()
    assert not files(uploads) and "Traceback" not in said()
    assert {one.name for one in (directory / "run").rglob("*") if one.is_file()} <= {
        *("run.json", "run.log", "config.yaml", "hydra.yaml", "overrides.yaml")
    }


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Chromium, with a file for a microphone and a moving pattern for a camera."""
    from playwright.sync_api import sync_playwright

    devices = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*devices, f"--use-file-for-fake-audio-capture={SPEECH}"]
        )


@pytest.fixture
def visit(browser: "Browser", address: str) -> "Iterator[Callable[..., Page]]":
    """Opens the page as a new visitor. No visit may ask any other computer for anything."""
    asked: list[str] = []

    def open_page(**settings: Any) -> "Page":
        page = browser.new_context(**settings).new_page()
        page.set_default_timeout(60_000)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.get_by_text("Responsible use").wait_for()
        return page

    yield open_page
    for context in browser.contexts:
        context.close()
    assert [one for one in asked if not one.startswith((address, "data:", "blob:"))] == []


def wait_for(true: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.1)


def files(folder: Path) -> list[Path]:
    """The files in a folder that hold anything. Gradio leaves empty ones beside uploads."""
    return [one for one in folder.rglob("*") if one.is_file() and one.stat().st_size]


def give(page: "Page", file: Path, tab: str = "recording") -> None:
    page.locator(f"#{tab} input[type=file]").set_input_files(file)


def test_a_recording(visit: "Callable[..., Page]") -> None:
    page = visit()
    give(page, SPEECH)
    page.get_by_text(HEARD).wait_for()
    assert page.get_by_text("Sounds male").is_visible() and page.get_by_text("This is not a likeness").is_visible()
    assert page.locator(".s2f-strip img").count() == 2
    face, dotted = page.get_by_alt_text("the reconstructed face"), page.get_by_alt_text("the face with 72 landmarks")
    assert face.is_visible() and not dotted.is_visible()
    page.get_by_text("landmarks", exact=True).click()
    assert dotted.is_visible() and not face.is_visible()
    page.get_by_role("button", name="Compare encoders").click()
    page.get_by_text(SIDE).wait_for()
    assert [one.inner_text() for one in page.locator(".s2f-columns b").all()] == ["ge2e", "ast", "paper"]
    for label, suffix in (("Face (PNG)", "png"), ("Numbers (NPZ)", "npz")):
        with page.expect_download() as download:
            page.get_by_text(label).click()
        assert download.value.suggested_filename == f"librivox_male_synthetic.{suffix}"
    with np.load(download.value.path()) as arrays:
        assert arrays["embedding"].shape == (4096,) and arrays["samples_images"].shape == (2, 224, 224, 3)


def test_the_microphone(visit: "Callable[..., Page]") -> None:
    page = visit()
    page.get_by_role("button", name="Record").click()
    page.wait_for_timeout(4000)
    page.get_by_role("button", name="Stop").click()
    page.get_by_text(HEARD).wait_for()
    assert page.get_by_text("Sounds male").is_visible()  # the man whose recording is the microphone


def test_photos_given_taken_and_clicked(visit: "Callable[..., Page]") -> None:
    page = visit()
    page.get_by_role("tab", name="A photo").click()
    give(page, PHOTO, "photo")
    page.get_by_text(SEEN).wait_for()
    assert page.get_by_alt_text("what the encoder sees").is_visible()
    assert not page.get_by_role("button", name="Compare encoders").is_visible()
    page.get_by_text("Click to Access Webcam").click()
    page.wait_for_function("[...document.querySelectorAll('video')].some(one => one.readyState > 2)")
    page.get_by_label("capture photo").click()
    page.get_by_text("no face found: took the whole photo").wait_for()
    page.get_by_role("button", name="Example: astronaut").click()
    page.get_by_text("no face found").wait_for(state="detached")


def test_a_broken_file_and_then_a_good_one(visit: "Callable[..., Page]", tmp_path: Path) -> None:
    page = visit()
    (broken := tmp_path / "broken.wav").write_text("no sound at all")
    give(page, broken)
    assert page.get_by_role("alert").inner_text() == "broken.wav: not audio that FFmpeg can read"
    page.get_by_role("button", name="Example: alsa female").click()
    page.get_by_text("Sounds female").wait_for()
    assert page.get_by_role("alert").count() == 0


def test_three_hours_are_answered_in_seconds(visit: "Callable[..., Page]", tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=10 * 16_000) * 1e-3
    piece = write_audio(tmp_path / "piece.mp3", noise, 16_000, "mp3", b="8000").read_bytes()
    (hours := tmp_path / "hours.mp3").write_bytes(piece * 1080)  # frames of MP3 can be joined
    page = visit()
    began = time.monotonic()
    give(page, hours)
    page.get_by_text("60.00 s at 16000 Hz").wait_for()
    assert time.monotonic() - began < 10
    assert page.get_by_text("The first 60 seconds are used").is_visible()


def test_a_file_that_is_too_large_is_refused(visit: "Callable[..., Page]", tmp_path: Path, uploads: Path) -> None:
    (large := tmp_path / "large.wav").write_bytes(b"x" * (MEGABYTES * 10**6 + 2**21))
    page = visit()
    give(page, large)
    page.get_by_text("maximum allowed size").first.wait_for()
    page.context.close()
    wait_for(lambda: not files(uploads), 30)


def test_two_visitors_at_once_get_each_their_own(visit: "Callable[..., Page]", uploads: Path) -> None:
    first, second = visit(), visit()
    give(first, SPEECH)
    give(second, WOMAN)
    for page, sex in ((second, "female"), (first, "male")):
        page.get_by_text(HEARD).wait_for()
        assert page.get_by_text(f"Sounds {sex}").is_visible()
    assert {one.name for one in files(uploads)} == {SPEECH.name, WOMAN.name}
    first.context.close()
    wait_for(lambda: {one.name for one in files(uploads)} == {WOMAN.name}, 30)
    second.context.close()
    wait_for(lambda: not files(uploads), 30)


def test_a_narrow_screen_has_one_column(visit: "Callable[..., Page]") -> None:
    page = visit(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    page.get_by_role("button", name="Example: librivox male").tap()
    page.get_by_text(HEARD).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    above, below = (
        page.locator("#recording").bounding_box(),
        page.get_by_alt_text("the reconstructed face").bounding_box(),
    )
    assert above["y"] + above["height"] < below["y"] and below["width"] > 250
