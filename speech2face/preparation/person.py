"""Which pixels of an aligned crop show the person: GrabCut (Rother et al., SIGGRAPH 2004), seeded from landmarks."""

from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec

import numpy as np
from scipy import ndimage

from speech2face.preprocessing.alignment import SIDE

UNKNOWN, BACKGROUND, PERSON = 0, 1, 2  # values of a mask; unknown is what lies outside the photo
REACH = 40  # pixels; further inside or outside the usual outline it makes no difference how far
# Cuts that vote: the usual outline of a person as Frame.zone() takes it, least and greatest, and whether colours are
# first learnt without the places where there may be long hair or a shoulder.
NARROW, USUAL, WIDE = (1.2, 1.25, 0.85, 1.0), (1.3, 1.3, 0.9, 1.1), (1.6, 1.45, 1.55, 1.6)
CUTS = ((USUAL, USUAL, False), (USUAL, USUAL, True), (NARROW, WIDE, True))
ITERATIONS = 3


def can_cut() -> bool:
    """Whether OpenCV is installed (extra `portraits`). Without it, all of a photo counts as person."""
    return find_spec("cv2") is not None


@dataclass
class Frame:
    """The pixels of an aligned crop as seen from the face. landmarks: (72, 2) in pixels of the crop.

    Planes (SIDE, SIDE) are: `across`, distance from the middle of the face in half its width; `down`, distance from the
    line of the eyes in the height from there to the chin; `below`, pixels below the chin.
    """

    landmarks: np.ndarray

    def __post_init__(self) -> None:
        y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
        chin, eyes = self.landmarks[:17], self.landmarks[36:48, 1].mean()
        middle, self.half = (chin[0, 0] + chin[16, 0]) / 2, max((chin[16, 0] - chin[0, 0]) / 2, 8)
        self.across = np.abs(x - middle) / self.half
        self.down = (y - eyes) / max(chin[8, 1] - eyes, 8)
        self.below = y - chin[8, 1]
        self.at = tuple(np.clip([int(eyes), int(middle)], 0, SIDE - 1))

    def ring(self, wide: float, high: float) -> np.ndarray:
        """Within an ellipse around the point between the eyes, in units of `across` and `down`."""
        return (self.across / wide) ** 2 + (self.down / high) ** 2 < 1

    def zone(self, wide: float, high: float, beside: float, shoulder: float) -> np.ndarray:
        """Within the outline of head, neck (or hair beside it) and shoulders."""
        body = (self.below > 0) & (self.across < 0.75 + np.clip(self.below / 28, 0, 1) * shoulder)
        return self.ring(wide, high) | body | ((self.down > 0) & (self.below <= 10) & (self.across < beside))

    @cached_property
    def seeds(self) -> np.ndarray:
        """Labels of GrabCut: 0 background and 1 person for sure, 2 and 3 probably."""
        import cv2

        below, across = self.below, self.across
        labels = np.full((SIDE, SIDE), cv2.GC_PR_BGD, np.uint8)
        labels[self.ring(1.45, 1.38) & (below < 0)] = cv2.GC_PR_FGD
        labels[(below > 2) & (across < 1 + np.clip(below / 25, 0, 1) * 1.3)] = cv2.GC_PR_FGD
        labels[~self.ring(2, 1.8) & (self.down < 0.35) | ((across > 2.05) & (self.down < 0.6))] = cv2.GC_BGD
        labels[:2] = cv2.GC_BGD
        face = np.zeros((SIDE, SIDE), np.uint8)
        cv2.fillConvexPoly(face, cv2.convexHull(self.landmarks.round().astype(np.int32)), 1)
        sure = ndimage.binary_erosion(face, iterations=4) | (self.ring(0.72, 0.85) & (self.down < 0))
        sure |= (below > -8) & (across < 0.5)
        sure |= (below > 14) & (across < 0.6 + np.clip((below - 14) / 22, 0, 1) * 0.75)
        labels[sure] = cv2.GC_FGD
        return labels

    @cached_property
    def unclear(self) -> np.ndarray:
        """Where there may be long hair or a shoulder, or not."""
        hair = self.ring(1.75, 1.6) | ((self.down > 0) & (self.across < 1.75))
        head = self.ring(1.12, 1.18) | ((self.down > 0) & (self.across < 0.9))
        return (hair & ~head) | ((self.below > 0) & (self.across > 0.75 + np.clip(self.below / 28, 0, 1) * 0.9))


def person_mask(crop: np.ndarray, inside: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE) uint8: UNKNOWN, BACKGROUND or PERSON, with hair, hat and clothes.

    crop: (SIDE, SIDE, 3) uint8 RGB, aligned. inside: (SIDE, SIDE) bool, which pixels are inside the photo. landmarks:
    (72, 2) in pixels of the crop. Without OpenCV everything inside is PERSON.

    Several cuts at half size vote, and a last one at full size moves their outline by a few pixels at most. Beside
    lightness and the strongest direction of colour they see how far a pixel is from the usual outline of a person.
    """
    if not can_cut():
        return np.where(inside, PERSON, UNKNOWN).astype(np.uint8)
    import cv2

    frame = Frame(landmarks)
    if not inside.all():  # so that GrabCut knows no colour that is not the photo's
        crop = crop[tuple(ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True))]
    colours = _colours(crop)
    half = cv2.resize(colours, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA)
    at = (frame.at[0] // 2, frame.at[1] // 2)
    votes = np.zeros((SIDE // 2, SIDE // 2), int)
    for least, most, careful in CUTS:
        planes = np.dstack([half, _outline(frame, least, most)[::2, ::2]])
        unclear = frame.unclear[::2, ::2] if careful else np.zeros((SIDE // 2, SIDE // 2), bool)
        votes += _without_strands(_connected(_cut(planes, frame.seeds[::2, ::2], unclear, ITERATIONS), at), at)
    person = cv2.resize((2 * votes > len(CUTS)).astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    labels = np.where(person, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[cv2.erode(person, disc) == 1] = cv2.GC_FGD
    labels[cv2.dilate(person, disc) == 0] = cv2.GC_BGD
    planes = np.dstack([colours, _outline(frame, USUAL, USUAL)])
    person = _connected(_cut(planes, labels, np.zeros_like(inside), 1), frame.at)
    return np.where(inside, BACKGROUND + cv2.medianBlur(person.astype(np.uint8), 5), UNKNOWN).astype(np.uint8)


def _colours(crop: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE, 2) uint8: lightness, and the direction in which the colours differ most."""
    import cv2

    lab = cv2.cvtColor(np.ascontiguousarray(crop), cv2.COLOR_RGB2LAB).astype(np.float32)
    hue = (lab[..., 1:] - lab[..., 1:].mean((0, 1))).reshape(-1, 2)
    strongest = (hue @ np.linalg.eigh(hue.T @ hue)[1][:, 1]).reshape(SIDE, SIDE)
    return np.dstack([lab[..., 0], 128 + 1.5 * strongest]).clip(0, 255).round().astype(np.uint8)


def _outline(frame: Frame, least: tuple[float, ...], most: tuple[float, ...]) -> np.ndarray:
    """(SIDE, SIDE) uint8: 128, plus the depth inside the zone `least`, less the distance from the zone `most`."""
    import cv2

    inner, outer = (frame.zone(*one).astype(np.uint8) for one in (least, most))
    depth = cv2.distanceTransform(inner, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - outer, cv2.DIST_L2, 5)
    return (128 + depth.clip(-REACH, REACH)).round().astype(np.uint8)


def _cut(planes: np.ndarray, seeds: np.ndarray, unclear: np.ndarray, iterations: int) -> np.ndarray:
    """Person or not (H, W). unclear: pixels from which the first models of colour are not learnt."""
    import cv2

    planes, labels = np.ascontiguousarray(planes), np.ascontiguousarray(seeds).copy()
    background, person = np.zeros((1, 65)), np.zeros((1, 65))
    known = ~unclear | (labels < cv2.GC_PR_BGD)
    cv2.setRNGSeed(0)
    strip = [np.ascontiguousarray(one[known][None]) for one in (planes, labels)]
    cv2.grabCut(*strip, None, background, person, 0, cv2.GC_INIT_WITH_MASK)
    cv2.grabCut(planes, labels, None, background, person, 1, cv2.GC_EVAL_FREEZE_MODEL)
    if iterations > 1:
        cv2.grabCut(planes, labels, None, background, person, iterations - 1, cv2.GC_EVAL)
    return (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)


def _connected(person: np.ndarray, at: tuple[int, int]) -> np.ndarray:
    """The part that the pixel `at` belongs to, without holes."""
    parts, _ = ndimage.label(person)
    return ndimage.binary_fill_holes(parts == parts[at])


def _without_strands(person: np.ndarray, at: tuple[int, int]) -> np.ndarray:
    """Without what only a thin bridge joins to the face, such as the stripe of a flag."""
    import cv2

    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    core = _connected(cv2.morphologyEx(person.astype(np.uint8), cv2.MORPH_OPEN, disc) > 0, at)
    return person & (cv2.dilate(core.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0)
