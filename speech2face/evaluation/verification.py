"""Verification: scores of pairs of files, the equal error rate of a threshold on them, and the area under the curve."""

from collections.abc import Iterator

import numpy as np

from speech2face.evaluation.statistics import Statistic

PAIRS = 4096  # pairs scored at once


class Trials:
    """Scored trials, each a pair of files of one person (genuine) or of two (impostor).

    scores: (p,), higher for files that seem to be of one person. same: (p,) bool, whether a trial is genuine.
    left, right: (p,) rows of the two people in the weights that `Statistic` takes; right None: the trials themselves
    are resampled, because their people are not known. share: (p,) weights of the trials.

    A genuine trial has the weight of its person, an impostor trial the product of its two people's weights. Statistics
    are NaN where either kind of trials has no weight. Trials with equal scores are refused together.
    """

    def __init__(
        self,
        scores: np.ndarray,
        same: np.ndarray,
        left: np.ndarray,
        right: np.ndarray | None,
        share: np.ndarray | float = 1.0,
    ) -> None:
        order = np.argsort(scores)
        self.ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
        self.same, self.left, self.right = same[order], left[order], None if right is None else right[order]
        self.share = np.broadcast_to(share, len(scores))[order]

    def equal_error_rate(self, weights: np.ndarray) -> np.ndarray:
        """Weights (b, n) -> (b,) equal error rates, 0..1."""
        return np.array([_crossing(*curve) if curve else np.nan for curve in self._curves(weights)])

    def auc(self, weights: np.ndarray) -> np.ndarray:
        """Weights (b, n) -> (b,) areas under the receiver operating characteristic, 0..1.

        This is the probability that a genuine trial has a higher score than an impostor trial; a tie counts a half.
        """
        return np.array([_area(*curve) if curve else np.nan for curve in self._curves(weights)])

    def _curves(self, weights: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray] | None]:
        """By resample: shares of genuine trials refused, and of impostor trials accepted, at ascending thresholds."""
        genuine, impostors = self.same * self.share, ~self.same * self.share
        for row in weights:
            left = row[self.left]
            refused = np.cumsum(genuine * left)[self.ends]
            right = 1.0 if self.right is None else row[self.right]
            accepted = np.cumsum(impostors * left * right)[self.ends]
            if not refused[-1] or not accepted[-1]:
                yield None
                continue
            yield np.append(0, refused / refused[-1]), np.append(1, 1 - accepted / accepted[-1])


def error_rate(embeddings: np.ndarray, people: np.ndarray, max_impostors: int = 20_000, seed: int = 0) -> Statistic:
    """Equal error rate (0..1) of speaker verification by cosine similarity, as a statistic for `bootstrap`.

    embeddings: (n, d), one row per clip. people: (n,) the person of each clip, any type. max_impostors: largest number
    of impostor pairs; if there are more, they are drawn at random from `seed`.

    The statistic maps weights (b, n) of the clips to (b,) rates: see Trials. Raises ValueError if there are no two
    people, or if no person has two clips.
    """
    genuine, impostor = speaker_pairs(people, max_impostors, seed)
    pairs = np.concatenate([genuine, impostor], axis=1)
    same = np.arange(pairs.shape[1]) < genuine.shape[1]
    return Trials(cosines(embeddings, embeddings, *pairs), same, *pairs).equal_error_rate


def speaker_pairs(people: np.ndarray, max_impostors: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Clip numbers of genuine pairs (2, g), all pairs of one person's clips, and of impostor pairs (2, i).

    Impostor pairs are all pairs of two people's clips; if these are more than `max_impostors`, that many are drawn at
    random, with replacement. Raises ValueError if there are no genuine or no impostor pairs.
    """
    _, person, counts = np.unique(people, return_inverse=True, return_counts=True)
    n = len(person)
    different = (n * n - int((counts.astype(np.int64) ** 2).sum())) // 2
    if different == 0 or counts.max() < 2:
        raise ValueError("speaker verification needs two people, and two clips of one of them")
    clips = np.split(np.argsort(person, kind="stable"), np.cumsum(counts)[:-1])
    genuine = np.concatenate([own[np.stack(np.triu_indices(len(own), 1))] for own in clips], axis=1)
    if different <= max_impostors:
        ordered, ends = np.concatenate(clips), np.cumsum(counts)[person[np.concatenate(clips)]]
        impostor = np.concatenate([_against(ordered[i], ordered[end:]) for i, end in enumerate(ends)], axis=1)
    else:
        generator = np.random.default_rng(seed)
        impostor = np.empty((2, 0), np.int64)
        while impostor.shape[1] < max_impostors:
            pairs = generator.integers(0, n, (2, max_impostors))
            impostor = np.concatenate([impostor, pairs[:, person[pairs[0]] != person[pairs[1]]]], axis=1)
        impostor = impostor[:, :max_impostors]
    return genuine, impostor


def _against(one: int, others: np.ndarray) -> np.ndarray:
    return np.stack([np.full(len(others), one), others])


def cosines(lefts: np.ndarray, rights: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Cosine similarities (p,) float32 of lefts[left[i]] and rights[right[i]]; 0 if one of them is all zeros.

    lefts: (n, d). rights: (m, d). left, right: (p,) row numbers.
    """
    scores = np.empty(len(left), np.float32)
    for start in range(0, len(left), PAIRS):
        part = slice(start, start + PAIRS)
        a, b = (np.asarray(rows[side[part]], np.float32) for rows, side in ((lefts, left), (rights, right)))
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        scores[part] = np.einsum("ij,ij->i", a, b) / np.where(lengths > 0, lengths, 1)
    return scores


def _crossing(refused: np.ndarray, accepted: np.ndarray) -> float:
    """Rate at which two error rates are equal, by linear interpolation between thresholds in ascending order.

    refused: share of genuine trials refused, ascending from 0. accepted: share of impostor trials accepted, descending
    from 1.
    """
    i = int(np.argmax(refused >= accepted))
    before, after = accepted[i - 1] - refused[i - 1], refused[i] - accepted[i]
    return float(refused[i - 1] + (refused[i] - refused[i - 1]) * before / (before + after))


def _area(refused: np.ndarray, accepted: np.ndarray) -> float:
    """Area under the share of genuine trials accepted over the share of impostor trials accepted."""
    return float(((1 - refused[1:]) + (1 - refused[:-1])) @ (accepted[:-1] - accepted[1:]) / 2)
