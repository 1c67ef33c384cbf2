"""Aligned crops: eyes and mouth have their places however the photo was taken, and what is unknown is marked."""

from pathlib import Path

import numpy as np
import pytest
from conftest import PHOTO
from PIL import Image as PillowImage
from scipy import ndimage
from skimage.transform import SimilarityTransform, estimate_transform

from speech2face.preprocessing.alignment import PARTS, PLACES, align, alignment, corners, transform
from speech2face.preprocessing.faces import detect_faces
from speech2face.preprocessing.image import Image
from speech2face.preprocessing.landmarks import find_landmarks
from speech2face.talkers.population import landmarks as of_talkers
from speech2face.talkers.traits import draw_person

ASTRONAUT = PillowImage.open(PHOTO).convert("RGB")
LANDMARKS = find_landmarks(ASTRONAUT, detect_faces(ASTRONAUT)[0])


def centres(points: np.ndarray) -> np.ndarray:
    return np.stack([points[part].mean(0) for part in PARTS])


def taken(degrees: float, scale: float, shift: tuple[float, float]) -> tuple[PillowImage.Image, np.ndarray]:
    """The astronaut photographed otherwise, by SciPy: the picture and where its landmarks went."""
    about = SimilarityTransform(translation=(-220, -120)) + SimilarityTransform(
        scale=scale, rotation=np.radians(degrees), translation=(260 + shift[0], 240 + shift[1])
    )
    back = about.inverse.params
    swapped = np.array([[back[1, 1], back[1, 0], back[1, 2]], [back[0, 1], back[0, 0], back[0, 2]]])  # rows, columns
    pixels = np.asarray(ASTRONAUT).astype(np.float32)
    planes = [ndimage.affine_transform(pixels[..., i], swapped, output_shape=(520, 480), order=3) for i in range(3)]
    picture = PillowImage.fromarray(np.stack(planes, -1).clip(0, 255).astype(np.uint8))
    return picture, about(LANDMARKS)


@pytest.mark.parametrize("size", [224, 112])
@pytest.mark.parametrize(
    ("degrees", "scale", "shift"), [(0, 1, (0, 0)), (25, 1.3, (20, -30)), (-35, 2.4, (-5, 7)), (90, 1.0, (0.5, 0.25))]
)
def test_eyes_and_mouth_have_their_places_and_the_crop_shows_the_same_face(
    degrees: float, scale: float, shift: tuple[float, float], size: int
) -> None:
    picture, points = taken(degrees, scale, shift)
    found = centres(transform(points, alignment(points, size)))
    places = (PLACES + 0.5) * size / 224 - 0.5
    umeyama = estimate_transform("similarity", centres(points), places)
    np.testing.assert_allclose(found, umeyama(centres(points)), atol=1e-3)
    np.testing.assert_allclose(found, places, atol=4 * size / 224)  # three points of a real face, one similarity
    crop, inside = align(picture, points, size)
    straight, known = align(ASTRONAUT, LANDMARKS, size)
    both = ndimage.binary_erosion(inside & known, iterations=3)[size // 3 : -size // 4, size // 4 : -size // 4]
    middle = [np.asarray(one, np.float32)[size // 3 : -size // 4, size // 4 : -size // 4] for one in (crop, straight)]
    assert both.mean() > 0.9
    half_off = ndimage.shift(middle[1], (0.0, 0.5, 0.0), order=3, mode="nearest")
    assert np.abs(middle[0] - middle[1])[both].mean() < 0.6 * np.abs(half_off - middle[1])[both].mean()


def test_a_face_whose_proportions_are_those_of_the_places_is_aligned_exactly() -> None:
    points = np.zeros((72, 2))
    turned = SimilarityTransform(scale=3, rotation=1.0, translation=(50, -20))
    for part, place in zip(PARTS, PLACES, strict=True):
        points[part] = turned(place)
    np.testing.assert_allclose(centres(transform(points, alignment(points))), PLACES, atol=1e-9)


def test_talkers_are_drawn_where_photos_are_aligned_to() -> None:
    points = of_talkers([draw_person(0, i) for i in range(40)], None).reshape(-1, 72, 2)
    np.testing.assert_allclose(np.mean([centres(one) for one in points], axis=0), PLACES, atol=0.5)


def test_a_found_face_is_aligned_whichever_way_the_photo_was_taken() -> None:
    """The whole way: detection, landmarks, alignment; the landmarks found again in the crop are at their places."""
    for degrees, scale, shift in ((0, 1, (0, 0)), (12, 1.4, (9, 4)), (-10, 2.0, (0, 30))):
        crop = Image(crop="aligned")(np.asarray(taken(degrees, scale, shift)[0])).preview["crop"]
        again = find_landmarks(PillowImage.fromarray(crop), detect_faces(PillowImage.fromarray(crop))[0])
        np.testing.assert_allclose(centres(again).mean(0), PLACES.mean(0), atol=2.5)
        across = np.subtract(*centres(again)[:2])
        assert abs(np.degrees(np.arctan(across[1] / across[0]))) < 3


def test_unknown_is_exactly_what_lies_outside_the_photo_and_has_the_colour_of_its_border() -> None:
    white = PillowImage.fromarray(np.full((100, 80, 3), 255, np.uint8))
    pixels = np.full((100, 80, 3), 200, np.uint8)
    pixels[1:-1, 1:-1] = 100  # the mean of the border is 200
    points = np.zeros((72, 2))
    turned = SimilarityTransform(scale=0.5, rotation=0.4, translation=(20, -18))
    for part, place in zip(PARTS, PLACES, strict=True):
        points[part] = turned(place)
    _, inside = align(white, points)
    places = turned(np.stack(np.meshgrid(np.arange(224), np.arange(224)), -1).reshape(-1, 2)) + 0.5
    expected = ((places >= 0) & (places < (80, 100))).all(1).reshape(224, 224)
    assert 0.05 < expected.mean() < 0.95
    np.testing.assert_array_equal(inside, expected)
    crop, inside = align(PillowImage.fromarray(pixels), points)
    assert (np.asarray(crop)[~inside] == 200).all()
    assert np.asarray(crop)[ndimage.binary_erosion(inside, iterations=8, border_value=1)].max() <= 104


def test_a_photo_that_is_much_reduced_does_not_alias() -> None:
    """Stripes of two pixels are grey at a tenth of their size; unfiltered they would be black and white."""
    rows = np.where(np.arange(4000) % 4 < 2, 0, 255).astype(np.uint8)
    for photo in (np.tile(rows, (4000, 1)), np.tile(rows[:, None], (1, 4000))):
        points = np.zeros((72, 2))
        for part, place in zip(PARTS, PLACES, strict=True):
            points[part] = SimilarityTransform(scale=17.3, rotation=0.2)(place)
        crop, inside = align(PillowImage.fromarray(photo).convert("RGB"), points)
        middle = np.asarray(crop)[ndimage.binary_erosion(inside, iterations=3)]
        assert middle.std() < 6 and abs(middle.mean() - 127.5) < 2


def test_front_end_aligns_or_takes_the_whole_photo(tmp_path: Path) -> None:
    prepared = Image(crop="face").with_crop("aligned")(PHOTO)
    crop, _ = align(ASTRONAUT, LANDMARKS)
    np.testing.assert_array_equal(prepared.preview["crop"], np.asarray(crop))
    np.testing.assert_allclose(transform(LANDMARKS, prepared.preview["matrix"])[36:48].mean(0), (112, 108), atol=3)
    outline = corners(alignment(LANDMARKS), 224)
    np.testing.assert_allclose(np.array(prepared.measurements["crop"].split(), int).reshape(4, 2), outline, atol=0.51)
    np.testing.assert_allclose(prepared.preview["outline"], outline, atol=0.01)  # 512 pixels: the preview is as large
    nothing = Image(crop="aligned")(np.full((300, 200, 3), 90, np.uint8))
    assert nothing.warnings == ["no face found: took the whole photo"]
    assert nothing.measurements["crop"] == "0 0 200 300"
