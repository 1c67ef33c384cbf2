"""Craniofacial ratios of faces from their landmarks, after Speech2Face (Oh et al., CVPR 2019, section 4.1).

The paper names its ratios but gives no formulas. It refers to Merler et al., "Diversity in Faces" (arXiv 1901.10436,
2019), which follows Farkas, "Anthropometry of the Head and Face" (1994), and Ramanathan and Chellappa, "Modeling age
progression in young faces" (CVPR 2006). The formulas in this module are Farkas's, on the landmarks nearest his points.
"""

import itertools

import numpy as np

from speech2face.decoders.landmarks import LANDMARK_PARTS


def ratios(landmarks: np.ndarray) -> dict[str, np.ndarray]:
    """Craniofacial ratios of n faces by name, (n,) float64 each; independent of shift, scale and in-plane rotation.

    landmarks: (n, 72, 2) x, y in the order of `LANDMARK_PARTS`. Lengths are in units of the distance between the
    centres of the eyes, areas in units of its square; an index is a ratio of two lengths.

    Farkas's points: n, top of the nose bridge; sn, middle of the nose tip's five points; al, the ends of these five;
    sbal, his point below the wing of the nose, here al; en and ex, inner and outer corners of the eyes; ls and li,
    middle of the outer edge of upper and lower lip; sto, middle of the inner edge: of the upper lip beside sn and ls,
    of the lower lip beside li, the midpoint of both beside gn; cph, peaks of the upper lip; ch, corners of the mouth;
    go, fifth point of the chin line from either ear; gn, its middle; zy, its ends.

    upper_lip_height: sn-sto. lateral_upper_lip_heights: mean of sbal-cph on both sides. jaw_width: go-go.
    nose_height: n-sn. nose_width: al-al. labio_oral_region: area within the outer edge of the lips (the name is
    Farkas's; the paper's formula is not known). mandibular_index: sto-gn / go-go. intercanthal_index: en-en / ex-ex.
    nasal_index: al-al / n-sn. vermilion_height_index: ls-sto / sto-li. mouth_face_width_index: ch-ch / zy-zy.
    nose_area: area of the polygon of n and the nose tip's five points.

    A ratio is not finite where its denominator is zero. Raises ValueError for landmarks of another shape.
    """
    landmarks = np.asarray(landmarks, np.float64)
    sizes = list(LANDMARK_PARTS.values())
    if landmarks.ndim != 3 or landmarks.shape[1:] != (sum(sizes), 2):
        raise ValueError(f"landmarks must be (n, {sum(sizes)}, 2), not {landmarks.shape}")
    points = landmarks.swapaxes(0, 1)  # (72, n, 2)
    ends = list(itertools.accumulate(sizes))
    part = {name: points[end - size : end] for name, size, end in zip(LANDMARK_PARTS, sizes, ends, strict=True)}
    chin, tip, left, right = part["chin"], part["nose_tip"], part["left_eye"], part["right_eye"]
    top, bottom = part["top_lip"], part["bottom_lip"]  # from a corner along the outer edge and back along the inner one
    root, base, wings = part["nose_bridge"][0], tip[2], (tip[0], tip[4])
    upper_inner, lower_inner = top[9], bottom[9]

    interocular = _length(left.mean(0), right.mean(0))
    jaw, nose_height, nose_width = _length(chin[4], chin[12]), _length(root, base), _length(*wings)
    lateral = (_length(wings[0], top[2]) + _length(wings[1], top[4])) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "upper_lip_height": _length(base, upper_inner) / interocular,
            "lateral_upper_lip_heights": lateral / interocular,
            "jaw_width": jaw / interocular,
            "nose_height": nose_height / interocular,
            "nose_width": nose_width / interocular,
            "labio_oral_region": _area([*top[:7], *bottom[1:6]]) / interocular**2,
            "mandibular_index": _length((upper_inner + lower_inner) / 2, chin[8]) / jaw,
            "intercanthal_index": _length(left[3], right[0]) / _length(left[0], right[3]),
            "nasal_index": nose_width / nose_height,
            "vermilion_height_index": _length(top[3], upper_inner) / _length(lower_inner, bottom[3]),
            "mouth_face_width_index": _length(top[0], top[6]) / _length(chin[0], chin[16]),
            "nose_area": _area([root, *tip]) / interocular**2,
        }


def _length(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a - b, axis=-1)


def _area(corners: list[np.ndarray]) -> np.ndarray:
    """Areas (n,) of polygons with corners (n, 2), by the shoelace formula.

    Coordinates are relative to the first corner, so that a shift of the polygon costs no precision.
    """
    x, y = (np.stack(corners) - corners[0]).transpose(2, 0, 1)
    return np.abs((x * np.roll(y, -1, 0) - y * np.roll(x, -1, 0)).sum(0)) / 2
