"""Export: the graph computes what this program computes, from samples to the face, and needs nothing of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import EXAMPLES, ROOT, SPEECH, TINY_AST, TINY_PAPER, run_py, write_audio
from PIL import Image

from speech2face import build
from speech2face.inference.graph import solve
from speech2face.inference.reconstructor import Reconstruction
from speech2face.preprocessing import speech
from speech2face.preprocessing.audio import Audio
from speech2face.preprocessing.decode import decode
from speech2face.preprocessing.fbank import LogMelFilterBank
from speech2face.preprocessing.listening import Listening
from speech2face.preprocessing.mel import MelDecibels, MelSpectrogram
from speech2face.preprocessing.spectrogram import Spectrogram
from speech2face.preprocessing.waveform import Waveform

RATE = 16_000


def read(name: str) -> np.ndarray:
    return decode(EXAMPLES / name, RATE, 0.0, None).waveform


@pytest.fixture(scope="module")
def clips() -> dict[str, np.ndarray]:
    """Recordings with silence, an offset, noise and pauses, longer and shorter than a window."""
    man, woman = read("librivox_male.wav"), read("alsa_female.flac")
    noise = 1e-3 * np.random.default_rng(0).standard_normal(31_003)
    silence = np.zeros(4 * RATE)
    parts = {
        "man": [man],
        "woman": [woman],
        "short": [man[8000:14_000]],
        "offset": [man + 0.2],
        "noise before": [noise, man],
        "pauses": [silence, man[:40_000], silence, woman[:30_000], silence[:8161], man[:16_123], silence],
        "a silent window": [man[:50_000], silence, silence, silence, man[:50_000]],
        "a click": [silence, man[20_000:20_700], silence],
        "longer than is read": [man, woman] * 5,
    }
    return {name: np.concatenate(part).astype(np.float32) for name, part in parts.items()}


@pytest.mark.parametrize("windows", [1, 3])
def test_the_graph_hears_what_the_front_end_hears(clips: dict[str, np.ndarray], windows: int, monkeypatch) -> None:
    """Silence, offset, level, windows and their weights, against the front end of every run."""
    monkeypatch.setattr(speech, "silero_weights", lambda: None)
    audio = Audio(Waveform(), window_seconds=3.0, windows=windows)
    for name, clip in clips.items():
        wanted = audio(clip, RATE)
        found, weights, level = Listening(audio)(torch.from_numpy(clip)[None])
        kept = weights[0] > 0
        shares, own = weights[0] / weights.sum(), torch.tensor(wanted.weights or [1.0])
        if len(wanted.features) == 1:  # a short clip: all windows are the same one
            assert torch.equal(found[0, :1], found[0, -1:]) and bool(kept[0]), name
            kept, shares = slice(1), torch.ones(1)
        torch.testing.assert_close(found[0][kept], wanted.features, rtol=1e-5, atol=1e-7, msg=name)
        torch.testing.assert_close(
            shares[kept] if windows > 1 else shares, own / own.sum(), rtol=1e-4, atol=0, msg=name
        )
        assert level[0] == pytest.approx(wanted.measurements["level_dbfs"], abs=0.006), name


@pytest.mark.parametrize(
    "features",
    [
        LogMelFilterBank(max_frames=300),
        MelSpectrogram(),
        MelDecibels(),
        Spectrogram(),
        Spectrogram("magnitude_phase", centered=True, power=1.0),
    ],
    ids=lambda features: type(features).__name__,
)
def test_features_as_convolutions_are_the_features(features, clips: dict[str, np.ndarray], monkeypatch) -> None:
    clip = torch.from_numpy(np.stack([clips["man"][:48_000], clips["woman"][:48_000]]))
    wanted = features(clip)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    found = features(clip)
    if isinstance(features, Spectrogram) and features.representation == "magnitude_phase":  # a phase is on a circle
        wanted, found = (one[:, 0] * torch.exp(1j * one[:, 1]) for one in (wanted, found))
    error, scale = (found - wanted).abs(), wanted.abs().max()
    assert error.mean() < 1e-5 * scale
    assert error.max() < 1e-3 * scale or getattr(features, "power", 1) == 0.3  # the root of nothing is steep


def test_a_system_is_solved_by_products() -> None:
    generator = torch.Generator().manual_seed(0)
    turn, _ = torch.linalg.qr(torch.randn(3, 40, 40, generator=generator, dtype=torch.float64))
    system, values = turn * torch.logspace(0, -5, 40), torch.randn(3, 40, 2, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(solve(system, values), torch.linalg.solve(system, values), rtol=1e-6, atol=1e-6)


def agree(found: dict[str, np.ndarray], wanted: Reconstruction, name: str) -> None:
    """Check that a graph's outputs of one input are those of this program, the picture to a level of 255."""
    scale = np.abs(wanted.embedding).max()
    np.testing.assert_allclose(found["embedding"], wanted.embedding, atol=1e-4 * scale, rtol=0, err_msg=name)
    np.testing.assert_allclose(found["face"] * 255, wanted.face, atol=1.01, rtol=0, err_msg=name)
    if "landmarks" in found:
        np.testing.assert_allclose(found["landmarks"], wanted.landmarks, atol=1e-3, rtol=0, err_msg=name)


def outside(path: Path, *command: object) -> None:
    """Run a program where neither this project nor torch can be imported, but for what is allowed."""
    for name in ("speech2face", *(() if "torch" in command else ("torch",))):
        (path / f"{name}.py").write_text("raise ImportError('not here')")
    words = [str(one) for one in command if one != "torch"]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(path), os.environ.get("PYTHONPATH", "")])}
    subprocess.run([sys.executable, *words], cwd=path, env=env, check=True, capture_output=True, text=True)


def test_onnx_gives_the_face_of_the_run_without_this_program(tmp_path: Path, clips: dict[str, np.ndarray]) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="the extra `export` is not installed")
    tiny = [
        *TINY_AST,
        "preprocessing.window_seconds=2",
        "preprocessing.windows=3",
        "preprocessing.features.max_frames=198",
    ]
    run_py("pipeline=export", *tiny, "hydra.run.dir=graph", cwd=tmp_path)
    graph = json.loads((tmp_path / "graph" / "run.json").read_text())["graph"]
    assert graph["difference"] < 1e-4
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "graph" / "model.onnx")
    both = np.stack([clips["man"][:100_000], clips["woman"][:100_000]])
    names = [one.name for one in session.get_outputs()]
    together = dict(zip(names, session.run(None, {"samples": both}), strict=True))
    assert together["level_dbfs"].shape == (2,) and together["landmarks"].shape == (2, 72, 2)
    reconstruct = build(*tiny, "precision=fp32")
    for row, name in enumerate(("man", "woman")):
        agree({output: one[row] for output, one in together.items()}, reconstruct(both[row], RATE), name)
    file = write_audio(tmp_path / "clip.wav", clips["pauses"], RATE, "pcm_s16le")
    outside(tmp_path, ROOT / "examples" / "onnx_face.py", "graph/model.onnx", file)
    found = {
        "embedding": np.load(tmp_path / "embedding.npy"),
        "face": np.asarray(Image.open(tmp_path / "face.ppm")) / 255,
    }
    agree(found, reconstruct(file), "pauses")
    silent = session.run(None, {"samples": np.zeros((1, 400), np.float32)})  # nothing shorter is taken
    assert np.isneginf(silent[names.index("level_dbfs")]).all()
    assert all(np.isfinite(silent[names.index(one)]).all() for one in ("embedding", "face"))
    alone = session.run(["embedding"], {"samples": both[1:]})[0]
    np.testing.assert_allclose(alone, together["embedding"][1:], atol=1e-4 * np.abs(alone).max(), rtol=0)


def test_a_program_of_torch_is_loaded_by_torch_alone(tmp_path: Path, clips: dict[str, np.ndarray]) -> None:
    run_py("pipeline=export", "format=torch", *TINY_PAPER, "hydra.run.dir=graph", cwd=tmp_path)
    np.save(tmp_path / "clip.npy", clips["man"])
    code = (
        "import numpy, torch; program = torch.export.load('graph/model.pt2').module()\n"
        "found = program(torch.from_numpy(numpy.load('clip.npy'))[None])\n"
        "numpy.savez('found.npz', **{name: one.numpy() for name, one in found.items()})"
    )
    outside(tmp_path, "torch", "-c", code)
    found = {name: one[0] for name, one in np.load(tmp_path / "found.npz").items()}
    agree(found, build(*TINY_PAPER, "precision=fp32")(SPEECH), "man")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["precision=bf16"], "precision=bf16: a graph is in fp32"),
        (["preprocessing.window_seconds=null"], "window_seconds=None: a graph has windows of a fixed length"),
        (["preprocessing.offset=3"], "no preprocessing.sample_rate= and .offset="),
    ],
)
def test_what_a_graph_cannot_have_is_refused(tmp_path: Path, options: list[str], part: str) -> None:
    result = run_py("pipeline=export", "format=torch", *TINY_PAPER, *options, cwd=tmp_path, status=1)
    assert part in result.stderr and len(result.stderr.splitlines()) <= 2
    assert not list(tmp_path.rglob("model.*"))
