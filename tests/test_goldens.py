"""The published systems' answers, reproduced: by the parts, and by run.py from the files as typed."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import GOLDENS, PHOTO, SPEECH, cosine
from PIL import Image

from speech2face import build
from speech2face.inference.device import resolve_precision

FILES = {"long.wav": SPEECH, "astronaut.png": PHOTO}
FILES |= {name: GOLDENS / name for name in ("short.wav", "short_44k_stereo.m4a")}
CLIPS = ("long.wav", "short.wav", "short_44k_stereo.m4a")
LAYOUTS = [
    ("paper", "paper", "ve_conv", CLIPS, 0.998),
    ("ast", "ast", "ast", CLIPS, 0.9995),
    ("vggface_serengil", "vgg_face", "vggface_serengil", ("astronaut.png",), 0.99999),
    ("vggface16_rcmalli", "vgg_face", "vggface16_rcmalli", ("astronaut.png",), 0.99999),
]
SHORT = {"paper": "window_seconds=3", "ast": "features.max_frames=300"}


@pytest.mark.parametrize(("golden", "encoder", "file", "inputs", "least"), LAYOUTS)
def test_run_as_typed(run, tmp_path, checkpoints, goldens, golden, encoder, file, inputs, least) -> None:
    pipeline, option = ("face", "image") if encoder == "vgg_face" else ("speech", "audio")

    def reconstruct(directory: str, *arguments: str) -> Path:
        weights = f"encoder.weights={checkpoints / file}.pt", f"decoder.weights={checkpoints}/face_decoder.pt"
        run(f"pipeline={pipeline}", f"encoder={encoder}", *weights, *arguments, f"hydra.run.dir={directory}")
        return tmp_path / directory

    sources = f"{option}=[{','.join(str(FILES[name]) for name in inputs)}]"
    exact = reconstruct("fp32", sources, "precision=fp32")
    for name in inputs:
        folder = exact / FILES[name].stem
        embedding = np.load(folder / "embedding.npy")
        assert embedding.dtype == np.float32 and embedding.shape == (4096,)
        assert cosine(embedding, goldens[f"{golden}/{name}/embedding"]) > least
        with open(folder / "landmarks.csv") as table:
            landmarks = np.array([[float(row["x"]), float(row["y"])] for row in csv.DictReader(table)])
        face = np.asarray(Image.open(folder / "face.png"))
        assert face.shape == (224, 224, 3)
        if encoder == "vgg_face":  # where the embedding is the same, so is the face
            np.testing.assert_allclose(landmarks, goldens[f"{golden}/{name}/landmarks"], atol=1e-3)
            assert np.mean(face != goldens[f"{golden}/{name}/face"]) < 1e-3
    if encoder in SHORT and resolve_precision("auto", torch.device("cpu")) != "bf16":
        # on a CPU without its instructions bf16 takes 20 times as long as fp32: it gets 3 seconds instead of all
        inputs, short = ("short.wav",), [f"audio={FILES['short.wav']}", f"preprocessing.{SHORT[encoder]}"]
        exact, lowered = (reconstruct(f"short_{one}", *short, f"precision={one}") for one in ("fp32", "bf16"))
    else:
        lowered = reconstruct("bf16", sources, "precision=bf16")
    for name in inputs:
        same_face(exact / FILES[name].stem, lowered / FILES[name].stem)


def same_face(exact: Path, other: Path) -> None:
    """The same embedding but for its length's thousandth, and faces 40 dB apart at least."""
    assert cosine(np.load(exact / "embedding.npy"), np.load(other / "embedding.npy")) >= 0.999
    faces = [np.asarray(Image.open(folder / "face.png"), np.float64) / 255 for folder in (exact, other)]
    assert np.square(faces[0] - faces[1]).mean() <= 1e-4


def test_bundled_weights_draw_the_same_face_in_bf16(run, tmp_path: Path) -> None:
    for encoder in ("ge2e", "ast", "dlib"):
        what = ["pipeline=face", f"image={PHOTO}"] if encoder == "dlib" else [f"audio={SPEECH}"]
        for precision in ("fp32", "bf16"):
            run(*what, f"encoder={encoder}", f"precision={precision}", f"hydra.run.dir={encoder}_{precision}")
        name = what[-1].rpartition("/")[2].partition(".")[0]
        same_face(*(tmp_path / f"{encoder}_{precision}" / name for precision in ("fp32", "bf16")))


def test_decoder_from_the_golden_embeddings(checkpoints: Path, goldens: dict[str, np.ndarray]) -> None:
    decoder = f"decoder.weights={checkpoints}/face_decoder.pt"
    pipeline = build("pipeline=speech", "encoder=ast_tiny", "encoder.weights=random", "precision=fp32", decoder)
    names = [name.removesuffix("/embedding") for name in goldens if name.endswith("/embedding")]
    assert len(names) == 8
    for name in names:
        landmarks, texture = pipeline.decoder.decode(torch.from_numpy(goldens[f"{name}/embedding"])[None])
        np.testing.assert_allclose(landmarks[0].numpy(), goldens[f"{name}/landmarks"], atol=1e-3 * 224)
        exact = texture[0].permute(1, 2, 0).numpy()
        truncated = goldens[f"{name}/face"] / 255
        assert (exact >= truncated - 1e-3).all() and (exact <= truncated + 1 / 255 + 1e-3).all()
