"""dlib's face descriptor: the network against dlib itself, and the reader of its file."""

import json
from collections.abc import Callable
from pathlib import Path

import dlib
import face_recognition_models
import numpy as np
import pytest
import torch
from conftest import PHOTO, TINY
from PIL import Image
from skimage.transform import SimilarityTransform, warp

from speech2face.encoders.dlib_resnet import DlibResNet
from speech2face.errors import UserError
from speech2face.preprocessing.image import to_batch
from speech2face.weights.load import load
from speech2face.weights.part import Part
from speech2face.weights.read import read_state_dicts

WEIGHTS = Path(face_recognition_models.face_recognition_model_location())
MODEL = {"_target_": "speech2face.encoders.dlib_resnet.DlibResNet", "embedding": 16}


@pytest.fixture(scope="module")
def network() -> DlibResNet:
    return load(Part(option="dlib", weights=str(WEIGHTS), model=MODEL, modality="face")).network


@pytest.fixture(scope="module")
def dlibs() -> Callable[[np.ndarray], np.ndarray]:
    model = dlib.face_recognition_model_v1(str(WEIGHTS))
    return lambda chip: np.array(model.compute_face_descriptor(np.ascontiguousarray(chip), 0))


def face(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """dlib's chip (150, 150, 3) of the face on a photo, and its 68 landmarks."""
    box = dlib.get_frontal_face_detector()(photo, 1)[0]
    shape = dlib.shape_predictor(face_recognition_models.pose_predictor_model_location())(photo, box)
    points = np.array([(point.x, point.y) for point in shape.parts()], float)
    return dlib.get_face_chip(photo, shape, 150, 0.25), points


@torch.inference_mode()
def test_descriptor_is_dlibs(network: DlibResNet, dlibs: Callable[[np.ndarray], np.ndarray]) -> None:
    chip, _ = face(np.array(Image.open(PHOTO).convert("RGB")))
    chips = [chip, chip[:, ::-1], 255 - chip]
    found = network.describe_chips(to_batch(np.stack(chips)))
    np.testing.assert_allclose(found, [dlibs(one) for one in chips], atol=1e-4)


@torch.inference_mode()
def test_descriptor_of_an_aligned_crop_is_near_that_of_dlibs_chip(
    network: DlibResNet, dlibs: Callable[[np.ndarray], np.ndarray]
) -> None:
    photo = np.array(Image.open(PHOTO).convert("RGB"))
    chip, points = face(photo)
    centres = np.array([points[part].mean(0) for part in (slice(36, 42), slice(42, 48), slice(48, 68))])
    places = np.array([(89.5, 108.0), (134.5, 108.0), (112.0, 161.0)])
    aligned = warp(photo, SimilarityTransform.from_estimate(centres, places).inverse, output_shape=(224, 224))
    found = network.descriptor(torch.from_numpy(aligned).permute(2, 0, 1)[None].float())
    assert np.linalg.norm(found[0].numpy() - dlibs(chip)) < 0.2  # photos of two people: 0.8


def test_damaged_files_are_refused_in_one_line(tmp_path: Path) -> None:
    intact, path = WEIGHTS.read_bytes(), tmp_path / "damaged.dat"
    header = intact.index(b"con_4")
    too_large = (
        intact[: header + 7] + b"\x08" + b"\x7f" * 8 + intact[header + 10 :]
    )  # the first size of the first tensor
    unknown = intact.replace(b"max_pool_2", b"min_pool_2")
    for content, why in (
        (intact[: len(intact) // 2], "cut short"),
        (intact[: header + 3], "cut short"),
        (intact[:20], "cut short"),
        (too_large, "no tensor"),
        (unknown, "min_pool_2"),
        (intact[:100_000] + bytes(1000) + intact[100_000:], "damaged"),
        (b"", "empty"),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=why) as refused:
            read_state_dicts(path)
        assert "\n" not in str(refused.value) and str(path) in str(refused.value)


def test_command_line_uses_the_installed_package_and_says_that_the_head_is_random(
    run: Callable, tmp_path: Path
) -> None:
    decoder = [one for one in TINY if one.startswith("decoder")]
    result = run("pipeline=face", "encoder=dlib", f"image={PHOTO}", *decoder, "hydra.run.dir=out")
    assert "has no head (head): it is random" in result.stdout + result.stderr
    weights = json.loads((tmp_path / "out" / "run.json").read_text())["weights"]["encoder"]
    assert (weights["file"], weights["layout"], weights["untrained"]) == (str(WEIGHTS), "face descriptor of dlib", True)
    result = run("pipeline=face", "encoder=dlib", f"image={PHOTO}", "encoder.weights=package:nowhere/x.dat", status=1)
    assert "the package nowhere is not installed" in result.stderr and "Traceback" not in result.stderr
