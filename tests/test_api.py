"""The Python API: arguments of every kind, lists of files, pickles."""

import io
import multiprocessing
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PHOTO, ROOT, SPEECH, TINY, TINY_AST, tone
from PIL import Image

import speech2face
from speech2face.errors import UserError
from speech2face.preprocessing.arrays import to_channels, to_rate
from speech2face.preprocessing.decode import decode

CLIP = tone(1, 16_000)


@pytest.fixture(scope="module")
def speech():
    return speech2face.build("pipeline=speech", *TINY_AST, "batch_size=2")


@pytest.fixture(scope="module")
def face():
    return speech2face.build("pipeline=face", "encoder=resnet", *TINY)


def refused(call, *arguments: object) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (CLIP, CLIP),
        (CLIP.astype(np.float64), CLIP),
        ((CLIP * 2**7).astype(np.int8), CLIP),
        ((CLIP * 2**15).astype(np.int16), CLIP),
        ((CLIP * 2**15).astype(">i2"), CLIP),
        ((CLIP.astype(np.float64) * 2**31).astype(np.int32), CLIP),
        ((CLIP * 2**7 + 128).astype(np.uint8), CLIP),
        (CLIP.tolist(), CLIP),
        (torch.from_numpy(CLIP).requires_grad_(), CLIP),
        (torch.from_numpy(CLIP).bfloat16(), CLIP),
        (torch.from_numpy(CLIP).half()[None], CLIP),
        (torch.from_numpy((CLIP * 2**15).astype(np.int16)), CLIP),
        ([CLIP, 0 * CLIP], CLIP / 2),
        (np.stack([CLIP, CLIP / 2]), CLIP * 0.75),
    ],
    ids=str,
)
def test_samples_of_every_width_are_the_same_sound(samples: object, expected: np.ndarray) -> None:
    channels = to_channels(samples)
    assert channels.ndim == 2 and channels.dtype.kind == "f"
    np.testing.assert_allclose(channels.mean(axis=0), expected, atol=0.008)  # 8 bits


@pytest.mark.parametrize("rate", [16_000, 16_000.0, np.int16(16_000), np.int64(16_000), np.float32(16_000)])
def test_rates_of_every_type(rate: object) -> None:
    assert to_rate(rate) == 16_000 and type(to_rate(rate)) is int


@pytest.mark.parametrize(
    "samples",
    [
        (CLIP * 2**15).astype(np.int64),
        (CLIP * 2**15).astype(np.int32),
        (CLIP * 2**15).astype(int).tolist(),
        (CLIP * 2**15).astype(np.int64).astype(np.uint16),
        torch.from_numpy((CLIP * 2**15).astype(np.int64)),
        CLIP > 0,
        CLIP.astype(complex),
        CLIP.astype(object),
        CLIP.astype(str),
        torch.from_numpy(CLIP > 0),
        torch.zeros(100, device="meta"),
        np.float32(0.5),
        [],
        [[1.0, 2.0], [3.0]],
    ],
    ids=lambda one: f"{type(one).__name__} {getattr(one, 'dtype', '')}",
)
def test_samples_without_a_scale_are_refused(speech, samples: object) -> None:
    message = refused(speech, samples, 16_000)
    assert "int16" in message or "path" in message or "(samples,)" in message


@pytest.mark.parametrize("rate", ["16000", float("inf"), float("nan"), 2**40, 10**30, 0, 16_000.5, True, None, [1], 1j])
def test_rates_that_are_none_are_refused(speech, rate: object) -> None:
    assert "sample_rate" in refused(speech, CLIP, rate)


@pytest.mark.parametrize("kind", ["bytes", "bytearray", "memoryview", "BytesIO", "file", "dict", "pair", "None", "set"])
def test_what_is_neither_a_path_nor_an_array_is_refused_with_what_is_wanted(speech, face, kind: str) -> None:
    with open(SPEECH, "rb") as file:
        content = SPEECH.read_bytes()
        sources = {"bytes": content, "bytearray": bytearray(content), "memoryview": memoryview(content), "file": file}
        sources |= {"BytesIO": io.BytesIO(content), "dict": {"array": CLIP}, "pair": (CLIP, 16_000), "set": {SPEECH}}
        for rate in (None, 16_000):
            assert "path" in refused(speech, sources.get(kind), rate) and "path" in refused(face, sources.get(kind))


def test_a_list_of_files_gives_a_list_of_the_same_results(speech, face, tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    Image.open(PHOTO).convert("RGB").crop((100, 0, 400, 300)).save(other)
    alone = {path: face(path).embedding for path in (PHOTO, other)}
    assert not np.allclose(alone[PHOTO], alone[other])
    entry = next(entry for entry in os.scandir(tmp_path))
    results = face([PHOTO, str(other), entry, other, PHOTO])  # one batch and a half
    assert len(results) == 5
    for result, path in zip(results, [PHOTO, other, other, other, PHOTO], strict=True):
        np.testing.assert_allclose(result.embedding, alone[path], atol=1e-5)
    assert [one.face.shape for one in speech((SPEECH,))] == [(224, 224, 3)]
    assert face([]) == []


def test_files_of_a_list_are_computed_together(speech, monkeypatch) -> None:
    sizes = []
    encode = type(speech.encoder).encode

    def counted(self, features, *rest):
        sizes.append(len(features))
        return encode(self, features, *rest)

    monkeypatch.setattr(type(speech.encoder), "encode", counted)
    speech([SPEECH] * 5)
    assert sizes == [2, 2, 1]


def test_the_bad_file_of_a_list_is_named(face, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    assert refused(face, [PHOTO, tmp_path / "bad.jpg", PHOTO]).startswith(str(tmp_path / "bad.jpg"))
    assert "nowhere.jpg" in refused(face, [PHOTO, "nowhere.jpg"])
    refused(face, [PHOTO, None])
    refused(face, [PHOTO, np.zeros((9, 9, 3), np.uint8)])


@pytest.mark.parametrize("kind", ["speech", "face"])
def test_a_pickled_pipeline_gives_the_same_face(kind: str, request) -> None:
    pipeline, source = request.getfixturevalue(kind), {"speech": SPEECH, "face": PHOTO}[kind]
    again = pickle.loads(pickle.dumps(pipeline))
    np.testing.assert_array_equal(again(source).face, pipeline(source).face)
    np.testing.assert_array_equal(again(source).embedding, pipeline(source).embedding)


def embedding_of(pipeline, source: Path) -> np.ndarray:
    return np.asarray(pipeline(source).embedding)


def test_a_pipeline_goes_to_a_spawned_process(speech) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        theirs = pool.apply(embedding_of, (speech, SPEECH))
    np.testing.assert_allclose(theirs, speech(SPEECH).embedding, atol=1e-5)


def test_integers_make_the_face_of_their_file(speech) -> None:
    samples = decode(SPEECH).waveform
    integers = speech((samples * 2**15).astype(np.int16), 16_000)
    np.testing.assert_allclose(integers.embedding, speech(SPEECH).embedding, atol=1e-3)


def test_the_python_of_its_page_runs_as_printed(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(ROOT)
    program = "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL))
    scope: dict[str, object] = {}
    exec(program, scope)
    assert capsys.readouterr().out == "nowhere.jpg: no such file\n"
    assert scope["embeddings"].shape == (2, 4096)
    np.testing.assert_array_equal(scope["first"].face, scope["second"].face)
    assert scope["result"].face.shape == (224, 224, 3) and scope["result"].landmarks.shape == (72, 2)
