"""The pipeline from Python, without the command line."""

import numpy as np
import pytest
import torch
from conftest import PHOTO, SPEECH, TINY, TINY_AST, tone
from PIL import Image

import speech2face
from speech2face.errors import UserError
from speech2face.preprocessing.decode import decode


@pytest.fixture(scope="module")
def speech():
    return speech2face.build("pipeline=speech", *TINY_AST)


@pytest.fixture(scope="module")
def face():
    return speech2face.build("pipeline=face", "encoder=resnet", *TINY)


def test_a_path_and_its_samples_give_the_same_face(speech) -> None:
    samples = decode(SPEECH).waveform
    from_path, from_samples = speech(SPEECH), speech(samples, 16_000)
    np.testing.assert_array_equal(from_path.embedding, from_samples.embedding)
    assert from_path.face.shape == (224, 224, 3) and from_path.face.dtype == np.uint8
    assert from_path.landmarks.shape == (72, 2) and from_path.embedding.shape == (4096,)


def test_integers_rates_and_channels(speech) -> None:
    clip = tone(1, 16_000)
    expected = speech(clip, 16_000).prepared
    integers = speech((clip * 32_768).astype(np.int16), 16_000.0).prepared
    assert integers.measurements == pytest.approx(expected.measurements, abs=0.02)
    assert speech(np.stack([clip, clip]), 16_000).prepared.measurements == expected.measurements


@pytest.mark.parametrize(
    ("samples", "rate"),
    [
        (np.zeros((100, 2)), 16000),
        (np.zeros((2, 3, 100)), 16000),
        (np.zeros(0), 16000),
        (tone(1, 16000), None),
        (tone(1, 16000), -1),
        (np.zeros(16000), 16000),
        (np.full(16000, np.nan), 16000),
        ("nowhere.wav", None),
    ],
)
def test_samples_that_are_none_are_refused(speech, samples, rate) -> None:
    with pytest.raises(UserError):
        speech(samples, rate)


def test_photos(face) -> None:
    with Image.open(PHOTO) as photo:
        same = [face(PHOTO), face(photo), face(np.asarray(photo.convert("RGB")))]
    assert all(np.array_equal(one.embedding, same[0].embedding) for one in same)
    for wrong in (np.zeros((9, 9, 3)), np.zeros((3, 9, 9), np.uint8), np.zeros((0, 9, 3), np.uint8), None):
        with pytest.raises(UserError, match="uint8 RGB"):
            face(wrong)


MISTAKES = [
    "encoder=nosuch",
    "nosuch=1",
    "encoder=vgg_face",
    "pipeline=convert",
    "seed=x",
    None,
    5,
    ["encoder=ast"],
    b"x",
]


@pytest.mark.parametrize("override", MISTAKES, ids=repr)
def test_a_mistake_in_the_overrides(override: object) -> None:
    with pytest.raises(UserError) as caught:
        speech2face.build(override)
    assert "\n" not in str(caught.value)


def test_random_weights_are_warned_of(caplog) -> None:
    speech2face.build("pipeline=speech", *TINY_AST)
    assert "UNTRAINED: random weights in the encoder and the decoder" in caplog.text


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_weights_that_are_not_finite_make_no_face(part: str) -> None:
    pipeline = speech2face.build("pipeline=speech", *TINY_AST)
    with torch.no_grad():
        next(iter(getattr(pipeline, part).network.parameters())).fill_(float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        pipeline(SPEECH)
