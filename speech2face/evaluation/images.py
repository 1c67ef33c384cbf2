"""Similarity of pairs of images and of pairs of landmark sets, one value per pair."""

from collections.abc import Callable

import numpy as np
from scipy.ndimage import binary_erosion
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

WINDOW = 11  # pixels of a side of SSIM's window
VISIBLE = 0.5  # grey levels


def psnr(a: np.ndarray, b: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """Peak signal-to-noise ratio of n pairs of images in decibels, (n,) float64; infinite for equal images.

    a, b: (n, H, W, 3) uint8. known: (n, H, W) bool, the pixels that are compared, all by default. Raises ValueError for
    other types, and for shapes that differ.
    """

    def of_pair(x: np.ndarray, y: np.ndarray, pixels: np.ndarray) -> float:
        return peak_signal_noise_ratio(x[pixels], y[pixels], data_range=255) if pixels.any() else np.nan

    with np.errstate(divide="ignore"):
        return _per_pair(of_pair, a, b, known)


def ssim(a: np.ndarray, b: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """Structural similarity of n pairs of images, (n,) float64 in -1..1 (Wang et al., IEEE TIP 13(4), 2004).

    a, b: (n, H, W, 3) uint8, at least 11 x 11. The window is the paper's: Gaussian, sigma 1.5, 11 x 11 pixels. The
    value is the mean over colour channels and over all windows that lie within the image and see only `known` pixels
    (n, H, W) bool, by default all. Raises ValueError for other types, and for shapes that differ.
    """
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": 2}

    def of_pair(x: np.ndarray, y: np.ndarray, pixels: np.ndarray) -> float:
        windows = binary_erosion(pixels, np.ones((WINDOW, WINDOW)))
        values = structural_similarity(x, y, data_range=255, full=True, **options)[1]
        return values[windows].mean() if windows.any() else np.nan

    return _per_pair(of_pair, a, b, known)


def landmark_error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean Euclidean distance between the landmarks of n pairs of faces, (n,) float64, in pixels if these are.

    a, b: (n, 72, 2) x, y. Raises ValueError for shapes that differ.
    """
    if a.shape != b.shape or a.ndim != 3 or a.shape[2] != 2:
        raise ValueError(f"landmarks must be (n, points, 2) and of one shape, not {a.shape} and {b.shape}")
    return np.linalg.norm(np.asarray(a, np.float64) - b, axis=2).mean(1)


def alike(images: np.ndarray) -> bool:
    """Whether (k, 224, 224, 3) uint8 pictures differ by less than half a grey level, which nobody can see.

    Correlations over such pictures come from rounding.
    """
    return float(images.std(axis=0, dtype=np.float32).mean()) < VISIBLE


def _per_pair(similarity: Callable[..., float], a: np.ndarray, b: np.ndarray, known: np.ndarray | None) -> np.ndarray:
    if a.shape != b.shape or a.ndim != 4 or a.shape[3] != 3 or a.dtype != np.uint8 or b.dtype != np.uint8:
        raise ValueError(f"images must be (n, H, W, 3) uint8 and of one shape, not {a.shape} and {b.shape}")
    known = np.broadcast_to(True, a.shape[:3]) if known is None else known
    return np.array([similarity(*one) for one in zip(a, b, known, strict=True)])
