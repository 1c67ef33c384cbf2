"""Metrics of an evaluation, each with its 95 % interval over people and its level of chance.

An observer predicts the embedding of a face from a query. The encoder under evaluation is one observer; all observers
have the same metrics.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.pipeline import Pipeline

from speech2face.evaluation import statistics
from speech2face.evaluation.estimator import Estimator, Metric
from speech2face.evaluation.images import landmark_error, psnr, ssim
from speech2face.evaluation.probes import fit_classifier, fit_regressor, predict
from speech2face.evaluation.ratios import ratios
from speech2face.evaluation.retrieval import DISTANCES, ranks, recall
from speech2face.evaluation.verification import error_rate
from speech2face.inference.cache import Embeddings

RECALLS = (1, 2, 5, 10)
CHUNK = 2048  # embeddings in memory at once


def distances(estimator: Estimator, queries: Embeddings, gallery: Embeddings, truth: np.ndarray) -> dict[str, Metric]:
    """Mean cosine, L1 and L2 distance of predicted to true embeddings (Oh et al. 2019, table 2).

    queries: (n, 4096). gallery: (m, 4096). truth: (n,) the true gallery row of each query. The level of chance is the
    mean distance to the embeddings of other people, in five permutations.
    """

    def values(rows: np.ndarray) -> np.ndarray:
        found = np.empty((3, len(rows)))
        for start in range(0, len(rows), CHUNK):
            a, b = (
                np.asarray(x, np.float64)
                for x in (queries[start : start + CHUNK], gallery[rows[start : start + CHUNK]])
            )
            lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
            found[0, start : start + CHUNK] = 1 - (a * b).sum(1) / np.where(lengths > 0, lengths, 1)
            found[1, start : start + CHUNK] = np.abs(a - b).sum(1)
            found[2, start : start + CHUNK] = np.linalg.norm(a - b, axis=1)
        return found

    own = values(truth)
    others = np.mean([values(truth[rows]) for rows in estimator.pairings(5)], axis=0).mean(axis=1)
    return {
        f"distance/{name}": estimator(statistics.mean(own[i]), float(others[i])) for i, name in enumerate(DISTANCES)
    }


def retrieval(
    estimator: Estimator, ranks_by_distance: dict[str, np.ndarray], gallery_size: int, sizes: Sequence[int]
) -> dict[str, Metric]:
    """Recall at 1, 2, 5 and 10, and median rank (Oh et al. 2019, table 3).

    ranks_by_distance: (n,) ranks in the whole gallery, by distance. sizes: of random galleries, whose expected metrics
    are given besides those of the whole gallery. The expected rank in a random gallery is linear in the rank in the
    whole gallery; the median rank is the median over queries of expected ranks.
    """
    metrics = {}
    for distance, rank in ranks_by_distance.items():
        for size in [*(size for size in sizes if size < gallery_size), gallery_size]:
            name = f"retrieval/{distance}/{'all' if size == gallery_size else size}"
            for k in RECALLS:
                if k < size:
                    hits = recall(rank, k, gallery_size, size)
                    metrics[f"{name}/R@{k}"] = estimator.share(hits, k / size)
            expected = 1 + (rank - 1) * (size - 1) / max(gallery_size - 1, 1)
            metrics[f"{name}/median_rank"] = estimator(statistics.median(expected), (size + 1) / 2)
    return metrics


def find_ranks(queries: Embeddings, gallery: Embeddings, truth: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Ranks (n,) of the true gallery rows by distance. Queries with the same embedding and truth are ranked once."""
    (rows, true_rows), inverse = np.unique(np.stack([queries.rows, truth]), axis=1, return_inverse=True)
    distinct = Embeddings(queries.array, rows)
    return {distance: ranks(distinct, gallery, true_rows, distance, seed)[inverse] for distance in DISTANCES}


def fit_probes(embeddings: Embeddings, people: Sequence[str], traits: dict[str, np.ndarray]) -> dict[str, Pipeline]:
    """Linear probes by trait, fitted on embeddings of training people: classifiers of text, regressors of numbers.

    embeddings: (n, 4096). people: (n,) the person of each row. traits: (n,) values by trait, "" or NaN where unknown.
    Classes of fewer than three people are left out. Traits with fewer than ten people or two values have no probe.
    """
    probes = {}
    person = np.unique(people, return_inverse=True)[1]
    for name, values in traits.items():
        fit = fit_classifier if values.dtype.kind == "U" else fit_regressor
        known = known_rows(values)
        if fit is fit_classifier:
            known &= np.array([len(np.unique(person[values == one])) >= 3 for one in values])
        if len(np.unique(person[known])) >= 10 and len(np.unique(values[known])) > 1:
            rows = np.flatnonzero(known)
            probes[name] = fit(embeddings[rows], values[rows], person[rows])
    return probes


def read_probes(probes: dict[str, Pipeline], embeddings: Embeddings | np.ndarray) -> dict[str, np.ndarray]:
    """Predictions (n,) of the probes for embeddings (n, 4096), by trait."""
    return {name: predict(probe, embeddings) for name, probe in probes.items()}


def known_rows(values: np.ndarray) -> np.ndarray:
    """Whether each of (n,) values of a trait is known, (n,) bool."""
    return values != "" if values.dtype.kind == "U" else np.isfinite(values)


def attributes(
    estimator: Estimator, name: str, predicted: dict[str, np.ndarray], traits: dict[str, np.ndarray]
) -> dict[str, Metric]:
    """Accuracy of classes; mean absolute error and correlation of numbers. Keys are NAME/TRAIT/accuracy and so on.

    predicted, traits: (n,) predictions and true values by trait; rows of unknown truth are left out. The level of
    chance of accuracy and error is that of the predictions against the truth of other people.
    """
    metrics = {}
    for trait, guess in predicted.items():
        rows = np.flatnonzero(known_rows(traits[trait]))
        if len(rows) < 3:
            continue
        truth, guess, estimate = traits[trait][rows], guess[rows], estimator.of(rows)
        if truth.dtype.kind == "U":
            metrics[f"{name}/{trait}/accuracy"] = estimate.share(
                guess == truth, lambda other, g=guess, t=truth: float((g == t[other]).mean())
            )
        else:
            metrics[f"{name}/{trait}/error"] = estimate(
                statistics.mean(np.abs(guess - truth)),
                lambda other, g=guess, t=truth: float(np.abs(g - t[other]).mean()),
            )
            metrics[f"{name}/{trait}/correlation"] = estimate(statistics.correlation(guess, truth), 0.0)
    return metrics


def craniofacial(estimator: Estimator, landmarks: np.ndarray, photo_landmarks: np.ndarray) -> dict[str, Metric]:
    """Correlation of craniofacial ratios between two faces of n people (Oh et al. 2019, section 4.1), and their mean.

    landmarks, photo_landmarks: (n, 72, 2) of the faces drawn from queries and from photos. Ratios that are not finite
    and correlations that are undefined are left out.
    """
    here, there = ratios(landmarks), ratios(photo_landmarks)
    parts = []
    for name in here:
        if np.isfinite(here[name]).all() and np.isfinite(there[name]).all():
            pair = statistics.correlation(here[name], there[name])
            parts += [(name, pair)] if np.isfinite(pair(np.ones((1, len(landmarks))))).all() else []
    columns = [column for _, pair in parts for column in pair.columns]
    metrics = {"craniofacial/mean": estimator(statistics.mean_correlation(*columns), 0.0)} if parts else {}
    return metrics | {f"craniofacial/{name}": estimator(pair, 0.0) for name, pair in parts}


def consistency(estimator: Estimator, embeddings: Embeddings) -> dict[str, Metric]:
    """Equal error rate of speaker verification by the cosine of (n, 4096) embeddings; {} if no person has two clips."""
    try:
        statistic = error_rate(embeddings, estimator.people, seed=estimator.seed)
    except ValueError:
        return {}
    return {"consistency/equal_error_rate": estimator(statistic, 0.5)}


def face_to_face(
    estimator: Estimator, faces: np.ndarray, photos: np.ndarray, known: np.ndarray | None = None
) -> dict[str, Metric]:
    """PSNR in dB and SSIM of faces drawn from photos.

    faces, photos: (n, 224, 224, 3) uint8. known: (n, 224, 224) bool, the pixels of the photos that are compared; all by
    default. The level of chance is that against the photos of other people, in two permutations.
    """
    metrics = {}
    known = np.broadcast_to(True, photos.shape[:3]) if known is None else known
    for name, function in (("psnr_db", psnr), ("ssim", ssim)):
        others = [function(faces, photos[rows], known[rows]).mean() for rows in estimator.pairings(2)]
        own = statistics.mean(function(faces, photos, known))
        metrics[f"face_to_face/{name}"] = estimator(own, float(np.mean(others)))
    return metrics


def identity(estimator: Estimator, ranks: np.ndarray, gallery_size: int) -> dict[str, Metric]:
    """Recall at 1 of a photo's embedding by that of the face drawn from it. ranks: (n,) of the true photo, from 1."""
    return {"face_to_face/identity_R@1": estimator.share(ranks == 1, 1 / gallery_size)}


def landmark_metrics(estimator: Estimator, landmarks: np.ndarray, truth: np.ndarray) -> dict[str, Metric]:
    """Mean landmark error in pixels of a 224 x 224 face, of drawn landmarks against true ones, (n, 72, 2) each.

    The level of chance is the mean error against the landmarks of other people, in five permutations.
    """
    others = [landmark_error(landmarks, truth[rows]).mean() for rows in estimator.pairings(5)]
    error = statistics.mean(landmark_error(landmarks, truth))
    return {"face_to_face/landmark_error_px": estimator(error, float(np.mean(others)))}
