"""The appearance model: its closed-form fit, and the faces that the bundled weights draw."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from speech2face import build
from speech2face.decoders.appearance import AppearanceDecoder
from speech2face.decoders.base import Examples
from speech2face.decoders.landmarks import LANDMARKS

WIDTH, RIDGE = 24, 2.0


def examples(count: int = 16, seed: int = 0) -> Examples:
    """People of random colours before grey, with landmarks and colours that follow random embeddings."""
    random = np.random.default_rng(seed)
    embeddings = random.normal(size=(count, WIDTH))
    rows, columns = np.mgrid[:224, :224]
    person = (((columns - 112) / 60) ** 2 + ((rows - 120) / 80) ** 2 < 1) | ((rows > 190) & (abs(columns - 112) < 80))
    pictures = np.full((count, 224, 224, 3), 128, np.uint8)
    pictures[:, person] = (128 + 40 * np.tanh(embeddings[:, :3]))[:, None]
    at = np.linspace(0, 2 * np.pi, LANDMARKS, endpoint=False)
    ring = np.stack([112 + 40 * np.cos(at), 120 + 55 * np.sin(at)], 1)
    moves = np.einsum("nk,klc->nlc", embeddings, random.normal(scale=0.5, size=(WIDTH, LANDMARKS, 2)))
    masks = np.where(person, 2, 1).astype(np.uint8) * np.ones((count, 1, 1), np.uint8)
    masks[:, :, :8] = 0
    return Examples(embeddings.astype(np.float32), np.arange(count), pictures, (ring + moves).astype(np.float32), masks)


def fitted(of: Examples) -> AppearanceDecoder:
    decoder = AppearanceDecoder(components=15, landmark_components=15, size=64, embedding=WIDTH, ridge=RIDGE)
    decoder.fit(of)
    return decoder.eval().requires_grad_(False)


def test_landmarks_are_those_of_a_ridge_regression() -> None:
    people = examples()
    expected = Ridge(alpha=RIDGE).fit(people.embeddings, people.landmarks.reshape(len(people.which), -1))
    other = np.random.default_rng(1).normal(size=(5, WIDTH)).astype(np.float32)
    landmarks, _ = fitted(people)(torch.from_numpy(other))
    assert landmarks.flatten(1).numpy() == pytest.approx(expected.predict(other), abs=0.02)


def test_people_are_drawn_in_their_colours_before_a_plain_background() -> None:
    people = examples()
    decoder = fitted(people)
    _, images = decoder(torch.from_numpy(people.embeddings))
    middle = images[:, :, 100:140, 100:124].mean((2, 3)).numpy()
    true = people.pictures[:, 120, 112] / 255
    assert np.abs(middle - true).mean() < 0.3 * np.abs(true - true.mean(0)).mean()
    corner = images[:, :, :20, 20:40].flatten(2).numpy()
    assert corner == pytest.approx(np.broadcast_to(np.array(decoder.background)[None, :, None], corner.shape), abs=0.01)


def test_what_is_unknown_changes_nothing() -> None:
    people, others = examples(), examples()
    others.pictures[people.masks == 0] = 255
    weights, same = fitted(people).state_dict(), fitted(others).state_dict()
    assert all(torch.equal(weights[name], same[name]) for name in weights)


def test_the_bundled_weights_draw_the_person_on_a_photo(tmp_path: Path) -> None:
    """dlib itself finds the drawn face nearer than 0.6 to the photo, which it calls the same person."""
    import dlib
    import face_recognition_models as models
    from skimage.data import astronaut

    detector = dlib.get_frontal_face_detector()
    predictor = dlib.shape_predictor(models.pose_predictor_model_location())
    network = dlib.face_recognition_model_v1(models.face_recognition_model_location())

    def describe(picture: np.ndarray) -> np.ndarray:
        found = detector(picture, 1)
        assert len(found) >= 1
        return np.array(network.compute_face_descriptor(picture, predictor(picture, found[0])))

    photo = np.ascontiguousarray(astronaut())
    drawn = build("pipeline=face")(photo).face
    assert np.linalg.norm(describe(photo) - describe(np.ascontiguousarray(drawn))) < 0.6
