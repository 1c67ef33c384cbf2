"""The portrait renderer: a detector finds the faces, landmarks match the picture, and people are reproducible."""

import dlib
import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV

from speech2face.talkers.population import portraits
from speech2face.talkers.portrait import render
from speech2face.talkers.traits import draw_person

TRAITS = (
    *("face_width", "face_length", "forehead", "jaw_width", "chin_length", "chin_width"),
    *("cheekbones", "cheek_fat", "brow_ridge", "brow_height", "brow_thickness", "brow_arch"),
    *("eye_size", "eye_spacing", "eye_tilt", "lid_height", "nose_width", "nose_length"),
    *("nose_bridge", "mouth_width", "upper_lip", "lower_lip", "ear_size", "neck_width"),
    *("skin_warmth", "hair_volume"),
)
SHARES = (
    *("skin_tone", "hair_melanin", "hair_red", "grey", "wrinkles", "sag"),
    *("freckles", "beard_density", "stubble", "lip_colour", "makeup", "clothing_hue"),
    *("clothing_value",),
)
KINDS = {"hair_style": 12, "beard": 5, "glasses": 4, "eye_colour": 6, "clothing": 4}
SCENE = {
    **{"yaw": (-12, 12), "pitch": (-8, 8), "roll": (-5, 5)},
    **{"shift_x": (-5, 5), "shift_y": (-5, 5), "zoom": (0.94, 1.06)},
    **{"smile": (-0.3, 1), "mouth_open": (0, 0.5), "brow_raise": (-1, 1), "blink": (0, 0.4)},
    **{"gaze_x": (-1, 1), "gaze_y": (-1, 1), "light_azimuth": (-60, 60), "light_elevation": (0, 60)},
    **{"light_strength": (0.7, 1.3), "ambient": (0.3, 0.7), "light_warmth": (-3, 3)},
    **{"background_hue": (0, 1), "background_value": (0, 1)},
}
PLAIN = {"zoom": 1.0, "light_elevation": 35.0, "light_strength": 1.0, "ambient": 0.5, "background_value": 0.5}
LEFT_EYE, RIGHT_EYE = slice(36, 42), slice(42, 48)


@pytest.fixture(autouse=True)
def one_thread():
    """On a busy machine, several threads take ten times as long as one, because they wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def random_faces(count, seed):
    random = torch.Generator().manual_seed(seed)
    face = {name: torch.randn(count, generator=random) for name in TRAITS}
    face |= {name: torch.rand(count, generator=random) for name in SHARES}
    face |= {name: torch.randint(kinds, (count,), generator=random) for name, kinds in KINDS.items()}
    return face | {"noise": torch.rand(count, 4, 56, 56, generator=random)}


def random_scenes(count, seed):
    random = torch.Generator().manual_seed(seed)
    return {name: low + (high - low) * torch.rand(count, generator=random) for name, (low, high) in SCENE.items()}


def plain_scenes(count, **values):
    return {name: torch.full((count,), {**PLAIN, **values}.get(name, 0.0)) for name in SCENE}


def pick(values, rows):
    return {name: value[rows] for name, value in values.items()}


def pixels(images):
    return np.ascontiguousarray((images * 255).round().byte().permute(0, 2, 3, 1).numpy())


def brightness_at(image, point, radius=0):
    x, y = point.round().long().tolist()
    return float(image[:, y - radius : y + radius + 1, x - radius : x + radius + 1].mean())


def test_shapes_and_types():
    images, points = render(random_faces(2, 0), random_scenes(2, 0))
    assert images.shape == (2, 3, 224, 224) and images.dtype == torch.float32
    assert points.shape == (2, 72, 2) and points.dtype == torch.float32


def test_a_picture_does_not_depend_on_the_batch():
    face, scene = random_faces(7, 1), random_scenes(7, 1)
    images, points = render(face, scene)
    order = torch.tensor([4, 0, 6, 2, 5, 3, 1])
    shuffled, shuffled_points = render(pick(face, order), pick(scene, order))
    np.testing.assert_array_equal(pixels(shuffled), pixels(images[order]))
    torch.testing.assert_close(shuffled_points, points[order], rtol=0, atol=0)
    for row in (0, 3, 6):
        alone, alone_points = render(pick(face, [row]), pick(scene, [row]))
        np.testing.assert_array_equal(pixels(alone), pixels(images[row : row + 1]))
        torch.testing.assert_close(alone_points, points[row : row + 1], rtol=0, atol=0)


def test_noise_of_one_person_changes_the_picture_of_that_person_only():
    face, scene = random_faces(5, 2), random_scenes(5, 2)
    before, _ = render(face, scene)
    noise = face["noise"].clone()
    noise[3] = 1 - noise[3]
    after, _ = render(face | {"noise": noise}, scene)
    same = (pixels(before) == pixels(after)).all((1, 2, 3))
    assert same.tolist() == [True, True, True, False, True]


def test_a_face_detector_finds_the_faces():
    count = 40
    face, scene = random_faces(count, 3), random_scenes(count, 3)
    for name, value in scene.items():  # half of the range: the limits do not occur all at once
        middle = PLAIN.get(name, 0.0)
        scene[name] = middle + 0.5 * (value - middle)
    images, points = render(face, scene)
    detector = dlib.get_frontal_face_detector()
    found = 0
    for image, marks in zip(pixels(images), points, strict=True):
        x, y = marks.mean(0).round().long().tolist()
        found += any(box.contains(dlib.point(x, y)) for box in detector(image, 1))
    assert found >= 0.95 * count


@pytest.mark.parametrize(
    "change", [{"shift_x": 3.5, "shift_y": -2.25}, {"zoom": 1.05}, {"roll": 4.0}], ids=["shift", "zoom", "roll"]
)
def test_landmarks_follow_shift_zoom_and_roll(change):
    face = random_faces(3, 4)
    pose = {"yaw": 7.0, "pitch": -4.0, "smile": 0.5}
    _, before = render(face, plain_scenes(3, **pose))
    _, after = render(face, plain_scenes(3, **pose, **change))
    pivot = torch.tensor([112.0, 165.0])
    angle = torch.deg2rad(torch.tensor(change.get("roll", 0.0)))
    turn = torch.stack([torch.stack([angle.cos(), angle.sin()]), torch.stack([-angle.sin(), angle.cos()])])
    shift = torch.tensor([change.get("shift_x", 0.0), change.get("shift_y", 0.0)])
    expected = pivot + shift + change.get("zoom", 1.0) * (before - pivot) @ turn
    torch.testing.assert_close(after, expected, rtol=0, atol=2e-4)


def test_yaw_moves_the_nose_more_than_the_outline():
    face = random_faces(4, 5)
    _, ahead = render(face, plain_scenes(4))
    _, turned = render(face, plain_scenes(4, yaw=10.0))
    moved = (turned - ahead)[..., 0]
    assert (moved[:, 30] > moved[:, 39] + 1).all() and (moved[:, 39] > moved[:, 0] + 3).all()


@pytest.mark.parametrize("yaw", [-10.0, 0.0, 10.0])
def test_pupils_and_whites_match_the_eye_landmarks(yaw):
    count = 8
    face = random_faces(count, 6) | {"glasses": torch.zeros(count).long(), "hair_style": torch.full((count,), 2)}
    face |= {"eye_colour": torch.zeros(count).long(), "sag": torch.zeros(count)}
    images, points = render(face, plain_scenes(count, yaw=yaw, roll=4.0, shift_x=4.0))
    for image, marks in zip(images, points, strict=True):
        for eye in (marks[LEFT_EYE], marks[RIGHT_EYE]):
            middle, left, right = eye.mean(0), eye[0], eye[3]
            pupil = brightness_at(image, middle, radius=2)
            whites = [brightness_at(image, torch.lerp(middle, corner, 0.62)) for corner in (left, right)]
            assert pupil < 0.65 * min(whites)


def test_an_open_mouth_is_dark_between_the_inner_lips():
    face = random_faces(6, 7) | {"beard": torch.zeros(6).long(), "skin_tone": torch.full((6,), 0.2)}
    images, points = render(face, plain_scenes(6, mouth_open=0.5))
    for image, marks in zip(images, points, strict=True):
        inner_top, inner_bottom, outer_bottom = marks[57], marks[69], marks[63]
        cave = brightness_at(image, torch.lerp(inner_top, inner_bottom, 0.7))
        lip = brightness_at(image, torch.lerp(inner_bottom, outer_bottom, 0.5))
        assert cave < 0.75 * lip


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_extremes_stay_in_range_and_inside_the_picture(sign):
    count = 12
    face, scene = random_faces(count, 8), random_scenes(count, 8)
    face |= {name: torch.full((count,), 2.5 * sign) for name in TRAITS}
    face |= {name: torch.full((count,), 0.5 + 0.5 * sign) for name in SHARES}
    face["hair_style"] = torch.arange(12)
    for name, (low, high) in SCENE.items():
        scene[name][:] = high if sign > 0 else low
    images, points = render(face, scene)
    assert torch.isfinite(images).all() and images.min() >= 0 and images.max() <= 1
    assert torch.isfinite(points).all() and points.min() > 0 and points.max() < 224
    chin = points[:, 8, 1]
    assert (chin > points[:, 48:, 1].max(1).values).all()


def test_pixels_predict_sex_and_age():
    """Linear probes on pixels. docs/talkers.md has the results for more people."""
    people = [draw_person(7, index) for index in range(560)]
    images, _ = portraits(people, [0] * len(people))
    pixels = torch.nn.functional.adaptive_avg_pool2d(images.float() / 255, 56).flatten(1).numpy()
    sex = np.array([person.traits["sex"] == "male" for person in people])
    age = np.array([person.traits["age"] for person in people])
    probe = RidgeCV(np.logspace(0, 3, 4)).fit(pixels[:400], np.stack([2.0 * sex - 1, age], 1)[:400])
    guess = probe.predict(pixels[400:])
    assert ((guess[:, 0] > 0) == sex[400:]).mean() > 0.85
    assert np.abs(guess[:, 1] - age[400:]).mean() < 10
