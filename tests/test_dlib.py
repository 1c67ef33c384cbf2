"""dlib's face descriptor: the network against dlib itself, the reader of its file, and as a teacher."""

import csv
import json
from collections.abc import Callable
from functools import cache
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
from speech2face.preprocessing.face_network import find_faces
from speech2face.preprocessing.image import Image as FrontEnd
from speech2face.preprocessing.image import to_batch
from speech2face.training.teacher import Teacher, descriptors
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


@cache
def predictor() -> dlib.shape_predictor:
    return dlib.shape_predictor(face_recognition_models.pose_predictor_model_location())


def face(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """dlib's chip (150, 150, 3) of the face on a photo, and its 68 landmarks."""
    box = dlib.get_frontal_face_detector()(photo, 1)[0]
    shape = predictor()(photo, box)
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


def test_detector_is_dlibs() -> None:
    photo = Image.open(PHOTO).convert("RGB")
    both = np.hstack([photo.resize((240, 240), box=box) for box in ((60, 0, 380, 320), (140, 20, 300, 180))])
    dlibs = dlib.cnn_face_detection_model_v1(face_recognition_models.cnn_face_detector_model_location())(both, 0)
    wanted = sorted([(one.confidence, one.rect) for one in dlibs], key=lambda one: -one[0])
    found = find_faces(both)
    assert len(found) == len(wanted) == 2
    for (score, box), (confidence, rectangle) in zip(found, wanted, strict=True):
        assert score == pytest.approx(confidence, abs=1e-4)
        assert box.tolist() == [rectangle.left(), rectangle.top(), rectangle.right(), rectangle.bottom()]
    assert find_faces(both[:6]) == find_faces(both[:, :30]) == []


def test_damaged_files_are_refused_in_one_line(tmp_path: Path) -> None:
    intact, path = WEIGHTS.read_bytes(), tmp_path / "damaged.dat"
    header = intact.index(b"con_4")
    too_large = (
        intact[: header + 7] + b"\x08" + b"\x7f" * 8 + intact[header + 10 :]
    )  # the first size of the first tensor
    unknown = intact.replace(b"max_pool_2", b"min_pool_2")
    detector = Path(face_recognition_models.cnn_face_detector_model_location()).read_bytes()
    channels = detector.index(b"bn_con2") + 7  # two versions and the sizes of the first tensor of this layer
    for content, why in (
        (intact[: len(intact) // 2], "cut short"),
        (intact[: header + 3], "cut short"),
        (intact[:20], "cut short"),
        (too_large, "no tensor"),
        (unknown, "min_pool_2"),
        (intact[:100_000] + bytes(1000) + intact[100_000:], "damaged"),
        (detector[: channels + 2] + b"\x01\x10" + detector[channels + 4 :], "damaged"),
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
    run("pipeline=face", "encoder=dlib", f"image={PHOTO}", *decoder, "hydra.run.dir=plain")
    record = json.loads((tmp_path / "plain" / "run.json").read_text())
    assert not record["weights"]["encoder"]["untrained"]
    linear = "encoder.model.linear=true"
    result = run("pipeline=face", "encoder=dlib", linear, f"image={PHOTO}", *decoder, "hydra.run.dir=out")
    assert "has no head (head): it is random" in result.stdout + result.stderr
    weights = json.loads((tmp_path / "out" / "run.json").read_text())["weights"]["encoder"]
    assert (weights["file"], weights["layout"], weights["untrained"]) == (str(WEIGHTS), "face descriptor of dlib", True)
    result = run("pipeline=face", "encoder=dlib", f"image={PHOTO}", "encoder.weights=package:nowhere/x.dat", status=1)
    assert "the package nowhere is not installed" in result.stderr and "Traceback" not in result.stderr


def photos_of_people(root: Path) -> list[str]:
    """A dataset of eight people: the astronaut seven times, each time otherwise, and a photo without a face."""
    photo = np.array(Image.open(PHOTO).convert("RGB"))[:320, 60:380]
    changed = [photo, photo[:, ::-1], photo // 2, 255 - (255 - photo) // 2, photo[..., ::-1], np.roll(photo, 1, 2)]
    changed += [np.clip(photo * 1.3, 0, 255).astype(np.uint8), photo[:60, 200:]]
    for number, picture in enumerate(changed):
        (root / f"p{number}" / "images").mkdir(parents=True)
        Image.fromarray(picture).save(root / f"p{number}" / "images" / "a.png")
    return [f"p{number}/images/a.png" for number in range(len(changed))]


def test_descriptors_of_photos_are_dlibs_and_are_computed_once(
    network: DlibResNet, dlibs: Callable[[np.ndarray], np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = photos_of_people(tmp_path)
    teacher = Teacher(network, FrontEnd(crop="aligned"), device="cpu", precision="fp32", batch_size=4)
    found = descriptors(tmp_path, paths, teacher, tmp_path / "cache", 1, "photos")
    assert np.isnan(found[-1]).all() and found.shape == (8, 128)
    own = np.stack([dlibs(face(np.array(Image.open(tmp_path / path)))[0]) for path in paths[:-1]])
    assert np.linalg.norm(found[:-1] - own, axis=1).max() < 0.25
    monkeypatch.setattr(network, "descriptor", None)
    np.testing.assert_array_equal(descriptors(tmp_path, paths, teacher, tmp_path / "cache", 1, "photos"), found)


def test_a_student_learns_the_descriptors_of_a_teacher(run: Callable, tmp_path: Path) -> None:
    photos_of_people(tmp_path / "people")
    small = ["encoder.model.width=0.125", "preprocessing.size=64", "preprocessing.crop=none", "logger=csv"]
    only = ["training.losses={identity: 0, traits: 0, portrait: 0}", "training.lr=1e-3", "trainer.max_epochs=20"]
    train = ["pipeline=train_face", "data.root=people", *small, *only, "batch_size=7", "workers=0", "device=cpu"]
    said = run(*train, "encoder@teacher=dlib", "hydra.run.dir=out").stderr
    assert "teacher=dlib: finds no face on 1 of 7 photos" in said
    with open(tmp_path / "out" / "logs" / "metrics.csv", newline="") as file:
        terms = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert terms[0] > 0.9 and min(terms[-3:]) < 0.7  # 1: as good as the mean
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["metrics"]["best/teacher"] > 0 and record["weights"]["teacher"]["file"] == str(WEIGHTS)
    refused = run(*train, "encoder@teacher=resnet", status=1).stderr
    assert "teacher=resnet: its class has no descriptors" in refused and "Traceback" not in refused
