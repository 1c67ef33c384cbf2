"""Pictures as others read them."""

import io

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from speech2face.inference.pictures import draw_waveform, panel, png
from speech2face.inference.sheets import table
from speech2face.inference.waveforms import ticks


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (224, 224)])
def test_png_is_what_pillow_reads(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    text = PngInfo()
    text.add_itxt("Title", "größer, 山田")
    with Image.open(io.BytesIO(png(pixels, text))) as image:
        image.load()
        assert image.text == {"Title": "größer, 山田"} and image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), pixels)
    assert png(Image.fromarray(pixels), text) == png(pixels, text)


def test_waveform_shows_the_extremes_of_every_column() -> None:
    waveform = np.zeros(1000, np.float32)
    waveform[[105, 250]] = 1.0, -1.0
    drawn = np.asarray(draw_waveform(waveform, 100, 41)).min(axis=2) < 200  # the line, on a light ground
    reach = [(np.flatnonzero(column).min(), np.flatnonzero(column).max()) for column in drawn.T]
    assert reach[10][0] == 1 and reach[25][1] == 39 and set(reach[:10] + reach[11:25]) == {(20, 20)}
    assert np.asarray(draw_waveform(waveform[:3], 100, 41)).shape == (41, 100, 3)  # fewer samples than columns


def test_the_panel_shades_what_was_heard_and_nothing_else() -> None:
    rate = 1000
    part = np.random.default_rng(0).uniform(-1, 1, 10 * rate).astype(np.float32)
    preview = {
        "waveform": part[:2000],
        "part": part,
        "sample_rate": rate,
        "heard": [(1.0, 3.0), (2.0, 4.0), (8.0, 10.0)],
    }
    face = np.zeros((224, 224, 3), np.uint8)
    size = panel("clip", {**preview, "heard": [(0.0, 10.0)]}, face, None, {}, "", False).size
    drawn = panel("clip", preview, face, None, {}, "", False)
    assert drawn.size == size  # as it is without windows
    pixels = np.asarray(drawn)[:, 24 : 24 + 448].astype(int)
    shaded = (np.abs(pixels[64:204] - np.array([220, 235, 243])).sum(axis=2) < 9).any(axis=0)
    bars = (np.abs(pixels[204:218] - np.array([47, 111, 143])).sum(axis=2) < 9).any(axis=1).sum()
    expected = np.zeros(448, bool)
    for start, end in preview["heard"]:
        expected[round(44.8 * start) : round(44.8 * end)] = True
    assert (shaded != expected).sum() <= 6  # a column at each edge
    assert bars == 6  # windows that overlap have bars one below the other


def test_letters_of_other_alphabets_are_drawn() -> None:
    drawn = [np.asarray(table([(name, ["x"])], ["job"], "")) for name in ("é", "e\u0301", "è", "Привет", "Прибор")]
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[0] != drawn[2]).any() and (drawn[3] != drawn[4]).any()  # not the box of a missing letter


@pytest.mark.parametrize("seconds", [0.13, 1.0, 3.0, 7.1, 10.26, 61.0, 10_800.0])
def test_times_below_a_recording_are_round(seconds: float) -> None:
    found = ticks(seconds)
    step = found[1]
    assert found[0] == 0 and 3 <= len(found) <= 7 and seconds - step < found[-1] <= seconds
    assert np.allclose(np.diff(found), step) and f"{step:e}"[0] in "125" and float(f"{step:.0e}") == step
