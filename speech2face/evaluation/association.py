"""Association of voices and faces: verification, 1:N matching and retrieval, overall and within groups of people.

Verification and the groups are those of Nagrani, Albanie and Zisserman, "Learnable PINs" (ECCV 2018), sections 5 and 6.
1:N matching is that of Nagrani, Albanie and Zisserman, "Seeing Voices and Hearing Faces" (CVPR 2018), in both
directions. Within a group, a voice is compared only with faces of people of its group.

The score of a recording and a photo is the cosine of their embeddings. The expected accuracy over all draws of
negatives is computed exactly.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import binom, digamma

from speech2face.evaluation import statistics
from speech2face.evaluation.metrics import Estimator, Metric, known_rows
from speech2face.evaluation.verification import Trials

PEOPLE = 1000  # most people that are associated, drawn at random
RECORDINGS = 3000  # most recordings of all of them
IMPOSTORS = 10_000  # impostor trials at most, or one per recording
CANDIDATES = (2, 10)  # of 1:N matching
GROUPS = ("sex", "age", "language", "nationality")  # columns of people.csv
YEARS = 10  # of an age group


@dataclass
class Counts:
    """What is nearer to a query than its person, for the n recordings with a negative in their group.

    recordings: (n,) their numbers. nearer, tied: (2, n) negatives with a higher and with the same score, from voice to
    face and from face to voice. negatives: (2, n) their number. own: (2, n) photos (one) or recordings of the person
    whose score is at least that of this recording. impostors: (p, 2) number of a recording and of a photo of another
    person of its group. share: (p,) weight of each impostor trial: those of one recording have the sum 1.
    """

    recordings: np.ndarray
    nearer: np.ndarray
    tied: np.ndarray
    negatives: np.ndarray
    own: np.ndarray
    impostors: np.ndarray
    share: np.ndarray


def associate(
    voices: np.ndarray,
    faces: np.ndarray,
    owner: np.ndarray,
    people: np.ndarray,
    traits: dict[str, np.ndarray],
    samples: int = 1000,
    seed: int = 0,
) -> dict[str, Metric]:
    """Metrics of the association of voices and faces, by name: association/TASK/GROUP/METRIC.

    voices: (n, d) embeddings of recordings. faces: (m, d) embeddings of photos, one per person. owner: (n,) the photo
    of each recording's person. people: (m,) names. traits: by column of people.csv, (m,) values, "" or NaN where
    unknown; within an unknown group there are no trials. samples: bootstrap resamples. seed: of everything random.

    TASK is verification (metrics equal_error_rate, auc), voice_to_face or face_to_voice (metrics 1:2, 1:10, mAP), all
    in 0..1. GROUP is all, same_sex, same_age, same_language or same_nationality. Of more than 1000 people, 1000 are
    drawn at random, with 3 recordings each. Returns {} if fewer than two people have recordings.
    """
    kept, photos = drawn(owner, seed)
    owner = np.searchsorted(photos, owner[kept])
    if len(photos) < 2:
        return {}
    scores = cosine_matrix(voices[kept], faces[photos])
    estimator = Estimator(people[photos], samples, seed)
    metrics = {}
    for group, codes in groups({name: values[photos] for name, values in traits.items()}, len(photos)):
        if found := count(scores, owner, codes, seed):
            metrics |= verify(estimator, scores, owner, found, f"association/verification/{group}")
            metrics |= match(estimator, owner, found, group)
    return metrics


def drawn(owner: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The recordings and the photos that are associated, as ascending numbers: see PEOPLE and RECORDINGS."""
    photos = np.unique(owner)
    photos = np.sort(np.random.default_rng(seed).permutation(photos)[:PEOPLE])
    rows = np.flatnonzero(np.isin(owner, photos))
    order = np.argsort(owner[rows], kind="stable")
    _, first, counts = np.unique(owner[rows][order], return_index=True, return_counts=True)
    turn = np.arange(len(rows)) - np.repeat(first, counts)
    return np.sort(rows[order][turn < max(1, RECORDINGS // max(len(photos), 1))]), photos


def cosine_matrix(voices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Cosines (n, m) float64 of all pairs, 0 for a row of zeros. Rounding differences of equal pairs are removed."""
    left, right = (np.asarray(rows, np.float64) for rows in (voices, faces))
    lengths = [np.linalg.norm(rows, axis=1, keepdims=True) for rows in (left, right)]
    left, right = (rows / np.where(size > 0, size, 1) for rows, size in zip((left, right), lengths, strict=True))
    return np.round(left @ right.T, 12)


def groups(traits: dict[str, np.ndarray], people: int) -> Iterator[tuple[str, np.ndarray]]:
    """Names of groupings, and the number (m,) of each person's group, -1 where it is unknown. First, all people.

    A number, such as an age in years, is grouped by tens. A column that tells nobody apart is left out.
    """
    yield "all", np.zeros(people, int)
    for name, values in traits.items():
        known = known_rows(values)
        if len(set(values[known])) > 1:
            codes = np.full(people, -1)
            values = values[known] // YEARS if values.dtype.kind == "f" else values[known]
            codes[known] = np.unique(values, return_inverse=True)[1]
            yield f"same_{name}", codes


def count(scores: np.ndarray, owner: np.ndarray, codes: np.ndarray, seed: int) -> Counts | None:
    """Compare every recording with the people of its group. scores: (n, m). owner: (n,). codes: (m,), -1 unknown.

    None if no group has two people.
    """
    generator, parts = np.random.default_rng(seed), []
    most = max(1, IMPOSTORS // len(owner))
    for code in np.unique(codes[codes >= 0]):
        photos, recordings = np.flatnonzero(codes == code), np.flatnonzero(codes[owner] == code)
        if len(photos) < 2:
            continue
        own = np.searchsorted(photos, owner[recordings])
        each, part = np.arange(len(own)), scores[np.ix_(recordings, photos)]
        true, mine = part[each, own][:, None], own[:, None] == own
        heard = part[:, own].T  # of the photo of each recording's person: its scores with all recordings
        higher, equal = heard > true, heard == true
        nearer = (part > true).sum(1), (higher & ~mine).sum(1)
        tied = (part == true).sum(1) - 1, (equal & ~mine).sum(1)
        negatives = np.full(len(own), len(photos) - 1), len(own) - mine.sum(1)
        above = np.ones(len(own), int), ((higher | equal) & mine).sum(1)
        order = generator.random(part.shape)
        order[each, own] = 2  # never an impostor
        size = min(most, len(photos) - 1)
        chosen = order.argpartition(size - 1, axis=1)[:, :size]
        impostors = np.stack([np.repeat(recordings, size), photos[chosen.ravel()]], 1)
        found = (
            recordings,
            *map(np.stack, (nearer, tied, negatives, above)),
            impostors,
            np.full(len(impostors), 1 / size),
        )
        parts.append(found)
    if not parts:
        return None
    numbers, *arrays, impostors, share = zip(*parts, strict=True)
    arrays = [np.concatenate(one, axis=1) for one in arrays]
    return Counts(np.concatenate(numbers), *arrays, np.concatenate(impostors), np.concatenate(share))


def verify(estimator: Estimator, scores: np.ndarray, owner: np.ndarray, found: Counts, name: str) -> dict[str, Metric]:
    """Equal error rate and area under the curve: one genuine trial per recording, and impostors of equal weight."""
    genuine = np.stack([found.recordings, owner[found.recordings]], 1)
    recordings, photos = np.concatenate([genuine, found.impostors]).T
    same = np.arange(len(photos)) < len(genuine)
    share = np.concatenate([np.ones(len(genuine)), found.share])
    trials = Trials(scores[recordings, photos], same, owner[recordings], photos, share)
    return {
        f"{name}/equal_error_rate": estimator(trials.equal_error_rate, 0.5),
        f"{name}/auc": estimator(trials.auc, 0.5),
    }


def match(estimator: Estimator, owner: np.ndarray, found: Counts, group: str) -> dict[str, Metric]:
    """Accuracy of 1:N matching and mean average precision, from voice to face and from face to voice.

    From voice to face, every recording counts alike; from face to voice, every photo, with the mean over the recordings
    of its person. Average precision is that of scikit-learn's average_precision_score.
    """
    metrics = {}
    speaker = owner[found.recordings]
    for direction, task in enumerate(("voice_to_face", "face_to_voice")):
        mean = _by_person(speaker) if task == "face_to_voice" else lambda values: values
        rows = estimator.of(mean(speaker).astype(int))
        nearer, tied, negatives, own = (
            one[direction] for one in (found.nearer, found.tied, found.negatives, found.own)
        )
        for size in CANDIDATES:
            enough = mean(negatives) >= size - 1
            if enough.sum() > 1:
                hits = mean(matched(nearer, tied, negatives, size))[enough]
                metrics[f"association/{task}/{group}/1:{size}"] = rows.of(np.flatnonzero(enough)).share(hits, 1 / size)
        precision = mean(own / (own + nearer + tied))
        relevant = mean(np.bincount(speaker)[speaker]) if task == "face_to_voice" else np.ones(len(precision))
        chance = float(random_precision(relevant, mean(negatives)).mean())
        metrics[f"association/{task}/{group}/mAP"] = rows(statistics.mean(precision), chance)
    return metrics


def _by_person(speaker: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A function that maps values (n,) of recordings to their means over the recordings of each person."""
    _, person, counts = np.unique(speaker, return_inverse=True, return_counts=True)
    return lambda values: np.bincount(person, values) / counts


def matched(nearer: np.ndarray, tied: np.ndarray, negatives: np.ndarray, size: int) -> np.ndarray:
    """Probability (n,) that the true one has the highest score among itself and size - 1 random negatives.

    nearer, tied: (n,) negatives with a higher and with the same score. negatives: (n,) their number. Of those with the
    same score, each is as likely to be chosen. NaN if there are too few negatives.
    """
    draws = np.where(negatives < size - 1, np.nan, binom(negatives, size - 1))
    return (binom(negatives - nearer + 1, size) - binom(negatives - nearer - tied, size)) / ((tied + 1) * draws)


def random_precision(relevant: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Expected average precision (n,) of a random order of relevant and other items, given their numbers (n,).

    Bestgen, "Exact expected average precision of the random baseline for system evaluation" (2015).
    """
    size = relevant + others
    harmonic = digamma(size + 1) + np.euler_gamma
    return (relevant - 1) / (size - 1) * (1 - harmonic / size) + harmonic / size
