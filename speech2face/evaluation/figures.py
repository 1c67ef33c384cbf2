"""The figures of an evaluation: each with its 95 % interval over people, and the level of chance.

A listener is whoever predicts face features of people: the voice encoder under evaluation, the ideal listener, ...
All of them are measured in the same way.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.pipeline import Pipeline

from speech2face.evaluation import statistics
from speech2face.evaluation.features import Features
from speech2face.evaluation.images import landmark_error, psnr, ssim
from speech2face.evaluation.probes import fit_classifier, fit_regressor, predict
from speech2face.evaluation.ratios import ratios
from speech2face.evaluation.retrieval import METRICS, ranks, recall
from speech2face.evaluation.statistics import Statistic, bootstrap, permutations, wilson
from speech2face.evaluation.verification import error_rate

RECALLS = (1, 2, 5, 10)
FEW = 10  # hits, or misses
CHUNK = 2048


@dataclass(frozen=True)
class Measured:
    """A figure, the bounds of its 95 % interval, and what chance would reach."""

    value: float
    low: float
    high: float
    chance: float


@dataclass
class Measure:
    """How figures are made: rows belong to `people` (n,), of whom `samples` resamples are drawn."""

    people: np.ndarray
    samples: int = 1000
    seed: int = 0

    def __call__(self, statistic: Statistic, chance: float | Callable[[np.ndarray], float]) -> Measured:
        """chance: the level, or the figure of predictions i against truth rows[i], to be averaged over permutations."""
        figure = bootstrap(statistic, self.people, self.samples, self.seed)
        level = float(np.mean([chance(rows) for rows in self.pairings(100)])) if callable(chance) else chance
        return Measured(figure.value, figure.low, figure.high, level)

    def share(self, hits: np.ndarray, chance: float | Callable[[np.ndarray], float]) -> Measured:
        """Mean of (n,) values in [0, 1]. Few hits or misses are not resampled well: at least Wilson's interval then."""
        figure = self(statistics.mean(hits), chance)
        if min(hits.sum(), len(hits) - hits.sum()) >= FEW:
            return figure
        low, high = wilson(figure.value, len(np.unique(self.people)))
        return Measured(figure.value, min(low, figure.low), max(high, figure.high), figure.chance)

    def pairings(self, count: int) -> Iterator[np.ndarray]:
        """Rows of other people for every row."""
        return permutations(self.people, count, self.seed)

    def of(self, rows: np.ndarray) -> "Measure":
        """The same for some of the rows."""
        return Measure(self.people[rows], self.samples, self.seed)


def distances(measure: Measure, queries: Features, gallery: Features, truth: np.ndarray) -> dict[str, Measured]:
    """Cosine, L1 and L2 distance of (n, 4096) queries to their true gallery rows (Oh et al. 2019, table 2).

    Chance: to the rows of other people, five permutations of them.
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
    others = np.mean([values(truth[rows]) for rows in measure.pairings(5)], axis=0).mean(axis=1)
    return {f"distance/{name}": measure(statistics.mean(own[i]), float(others[i])) for i, name in enumerate(METRICS)}


def retrieval(
    measure: Measure, found: dict[str, np.ndarray], gallery_size: int, sizes: Sequence[int]
) -> dict[str, Measured]:
    """Recall at 1, 2, 5 and 10 and median rank, of ranks (n,) by metric (Oh et al. 2019, table 3).

    sizes: of random galleries, expected values, besides that of everybody. The median rank in those is of the expected
    ranks, which are linear in the rank among everybody.
    """
    figures = {}
    for metric, rank in found.items():
        for size in [*(size for size in sizes if size < gallery_size), gallery_size]:
            name = f"retrieval/{metric}/{'all' if size == gallery_size else size}"
            for k in RECALLS:
                if k < size:
                    hits = recall(rank, k, gallery_size, size)
                    figures[f"{name}/R@{k}"] = measure.share(hits, k / size)
            expected = 1 + (rank - 1) * (size - 1) / max(gallery_size - 1, 1)
            figures[f"{name}/median_rank"] = measure(statistics.median(expected), (size + 1) / 2)
    return figures


def find_ranks(queries: Features, gallery: Features, truth: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """(n,) ranks of the true rows by metric; what is asked more than once is looked for once."""
    (rows, asked), again = np.unique(np.stack([queries.rows, truth]), axis=1, return_inverse=True)
    distinct = Features(queries.array, rows)
    return {metric: ranks(distinct, gallery, asked, metric, seed)[again] for metric in METRICS}


def fit_probes(features: Features, people: Sequence[str], traits: dict[str, np.ndarray]) -> dict[str, Pipeline]:
    """A probe of every trait that can be learnt from training people: text is a class, numbers are a quantity.

    features: (n, 4096); people: (n,) whose they are; traits: (n,) values by name.
    """
    probes = {}
    person = np.unique(people, return_inverse=True)[1]
    for name, values in traits.items():
        fit = fit_classifier if values.dtype.kind == "U" else fit_regressor
        known = known_rows(values)
        if fit is fit_classifier:  # what only one or two people have cannot be learnt
            known &= np.array([len(np.unique(person[values == one])) >= 3 for one in values])
        if len(np.unique(person[known])) >= 10 and len(np.unique(values[known])) > 1:
            rows = np.flatnonzero(known)
            probes[name] = fit(features[rows], values[rows], person[rows])
    return probes


def known_rows(values: np.ndarray) -> np.ndarray:
    """(n,) whether a trait is known."""
    return values != "" if values.dtype.kind == "U" else np.isfinite(values)


def attributes(
    measure: Measure, name: str, predicted: dict[str, np.ndarray], traits: dict[str, np.ndarray]
) -> dict[str, Measured]:
    """Accuracy of classes; mean absolute error and correlation of quantities. Rows of unknown truth are left out.

    Chance: everybody's prediction against the truth of somebody else.
    """
    figures = {}
    for trait, guess in predicted.items():
        rows = np.flatnonzero(known_rows(traits[trait]))
        if len(rows) < 3:
            continue
        truth, guess, here = traits[trait][rows], guess[rows], measure.of(rows)
        if truth.dtype.kind == "U":
            figures[f"{name}/{trait}/accuracy"] = here.share(
                guess == truth, lambda other, g=guess, t=truth: float((g == t[other]).mean())
            )
        else:
            figures[f"{name}/{trait}/error"] = here(
                statistics.mean(np.abs(guess - truth)),
                lambda other, g=guess, t=truth: float(np.abs(g - t[other]).mean()),
            )
            figures[f"{name}/{trait}/correlation"] = here(statistics.correlation(guess, truth), 0.0)
    return figures


def craniofacial(measure: Measure, landmarks: np.ndarray, of_photo: np.ndarray) -> dict[str, Measured]:
    """Correlation of craniofacial ratios of two (n, 72, 2) landmarks: of the faces from voice and from photo.

    Oh et al. 2019, section 4.1; and the mean over all ratios whose correlation is defined.
    """
    here, there = ratios(landmarks), ratios(of_photo)
    parts = []
    for name in here:
        if np.isfinite(here[name]).all() and np.isfinite(there[name]).all():
            parts.append((name, statistics.correlation(here[name], there[name])))
    figures = {f"craniofacial/{name}": measure(statistic, 0.0) for name, statistic in parts}
    figures["craniofacial/mean"] = (
        measure(lambda w: np.mean([one(w) for _, one in parts], axis=0), 0.0) if parts else None
    )
    return {name: figure for name, figure in figures.items() if figure and np.isfinite(figure.value)}


def consistency(measure: Measure, features: Features) -> dict[str, Measured]:
    """Equal error rate of telling one speaker's clips from those of others, by the cosine of their features."""
    try:
        statistic = error_rate(features, measure.people, seed=measure.seed)
    except ValueError:
        return {}  # nobody has two clips
    return {"consistency/equal_error_rate": measure(statistic, 0.5)}


def face_to_face(
    measure: Measure, faces: np.ndarray, photos: np.ndarray, found: np.ndarray, gallery_size: int
) -> dict[str, Measured]:
    """Image quality of faces (n, 224, 224, 3) from photos: PSNR in dB, SSIM, and whether the identity is kept.

    found: (n,) rank of the photo's feature for the feature of the face. Chance: against the photos of others.
    """
    figures = {}
    for name, function in (("psnr_db", psnr), ("ssim", ssim)):
        others = [function(faces, photos[rows]).mean() for rows in measure.pairings(2)]
        figures[f"face_to_face/{name}"] = measure(statistics.mean(function(faces, photos)), float(np.mean(others)))
    figures["face_to_face/identity_R@1"] = measure.share(found == 1, 1 / gallery_size)
    return figures


def landmark_figures(measure: Measure, landmarks: np.ndarray, truth: np.ndarray) -> dict[str, Measured]:
    """Mean landmark error in pixels of the 224 x 224 face, (n, 72, 2) against the photos' own."""
    others = [landmark_error(landmarks, truth[rows]).mean() for rows in measure.pairings(5)]
    error = statistics.mean(landmark_error(landmarks, truth))
    return {"face_to_face/landmark_error_px": measure(error, float(np.mean(others)))}


def read_probes(probes: dict[str, Pipeline], features: np.ndarray) -> dict[str, np.ndarray]:
    """What the probes read from (n, 4096) features, by trait."""
    return {name: predict(probe, features) for name, probe in probes.items()}
