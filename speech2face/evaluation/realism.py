"""How much drawn faces look like the population: sharpness, diversity, distance of distributions."""

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist

from speech2face.evaluation import statistics
from speech2face.evaluation.judging import find_faces
from speech2face.evaluation.metrics import Estimator, Metric
from speech2face.judges.base import Judge

GREY = (0.299, 0.587, 0.114)
NEIGHBOURS = 3  # Kynkäänniemi et al. 2019, section 3


def realism(estimator: Estimator, drawn: np.ndarray, originals: np.ndarray) -> dict[str, Metric]:
    """Sharpness and diversity of the faces drawn for n people, as shares of those of their originals.

    drawn, originals: (n, 224, 224, 3) uint8. Sharpness is the median over people of `sharpness`. Diversity is the
    standard deviation over people of a pixel, the mean over pixels, in grey levels.
    """
    sharp = [statistics.median(sharpness(one)) for one in (drawn, originals)]
    spread = [deviation(one) for one in (drawn, originals)]
    return {
        "calibration/sharpness_ratio": estimator(lambda weights: sharp[0](weights) / sharp[1](weights), 1.0),
        "calibration/diversity_ratio": estimator(lambda weights: spread[0](weights) / spread[1](weights), 1.0),
    }


def as_judged(judges: dict[str, Judge], drawn: np.ndarray, originals: np.ndarray) -> dict[str, Metric]:
    """Fréchet distance, precision and recall of drawn faces, on the embeddings of judges that have some.

    drawn, originals: (n, 224, 224, 3) uint8. They have no intervals.
    """
    pictures = {"samples": drawn, "originals": originals}
    portraits = {name: find_faces([Image.fromarray(one) for one in some], name) for name, some in pictures.items()}
    found = {}
    for name, judge in judges.items():
        said, real = (judge(some).embeddings for some in portraits.values())
        if said is not None and len(said) > NEIGHBOURS:
            found[f"calibration/{name}/frechet"] = frechet(said, real)
            found[f"calibration/{name}/precision"], found[f"calibration/{name}/recall"] = precision_recall(said, real)
    return {name: Metric(value, np.nan, np.nan, np.nan) for name, value in found.items()}


def sharpness(images: np.ndarray) -> np.ndarray:
    """The variance of the Laplacian in the middle half of grey images (n, height, width, 3) uint8, (n,)."""
    _, height, width, _ = images.shape
    middle = (slice(height // 4, height - height // 4), slice(width // 4, width - width // 4))
    return np.array([ndimage.laplace(image @ np.array(GREY))[middle].var() for image in images])


def deviation(images: np.ndarray) -> statistics.Statistic:
    """The mean over pixels of the standard deviation over n images (n, height, width, 3) uint8, in grey levels."""
    grey = (images[:, ::4, ::4] @ np.array(GREY)).reshape(len(images), -1)

    def statistic(weights: np.ndarray) -> np.ndarray:
        share = weights / weights.sum(1, keepdims=True)
        mean = share @ grey
        return np.sqrt(np.maximum(share @ grey**2 - mean**2, 0)).mean(1)

    return statistic


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Fréchet distance of two sets of descriptors, (n, d) and (m, d): Heusel et al., "GANs trained by a two time-scale
    update rule", NIPS 2017, equation 6. It is biased upwards for few rows.
    """
    apart = ((a.mean(0) - b.mean(0)) ** 2).sum()
    first, second = np.cov(a.T), np.cov(b.T)
    return float(apart + np.trace(first + second - 2 * sqrtm(first @ second).real))


def precision_recall(drawn: np.ndarray, real: np.ndarray) -> tuple[float, float]:
    """Precision and recall of drawn descriptors (n, d) against real ones (m, d).

    The share of drawn faces within the manifold of the real ones, and of real faces within that of the drawn ones:
    Kynkäänniemi et al., "Improved precision and recall metric", NeurIPS 2019, with three neighbours.
    """

    def within(points: np.ndarray, manifold: np.ndarray) -> float:
        radius = np.sort(cdist(manifold, manifold), 1)[:, NEIGHBOURS]
        return float((cdist(points, manifold) <= radius).any(1).mean())

    return within(drawn, real), within(real, drawn)
