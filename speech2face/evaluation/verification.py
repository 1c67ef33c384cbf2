"""Speaker verification: cosine similarities of pairs of clips, and the equal error rate of a threshold on them."""

import numpy as np

from speech2face.evaluation.statistics import Statistic

PAIRS = 4096  # pairs scored at once


def error_rate(embeddings: np.ndarray, people: np.ndarray, max_impostors: int = 20_000, seed: int = 0) -> Statistic:
    """Equal error rate (0..1) of speaker verification by cosine similarity, as a statistic for `bootstrap`.

    embeddings: (n, d), one row per clip. people: (n,) the person of each clip, any type. max_impostors: largest number
    of impostor pairs; if there are more, they are drawn at random from `seed`.

    The statistic maps weights (b, n) of the clips to (b,) rates. A genuine pair has the weight of its person, an
    impostor pair the product of its two people's weights. The rate is NaN if either kind of pairs has no weight.
    Raises ValueError if there are no two people, or if no person has two clips.
    """
    genuine, impostor = speaker_pairs(people, max_impostors, seed)
    pairs = np.concatenate([genuine, impostor], axis=1)
    scores = _cosines(embeddings, *pairs)
    order = np.argsort(scores)
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # equal scores are refused together
    left, right = pairs[:, order]
    same = order < genuine.shape[1]

    def statistic(weights: np.ndarray) -> np.ndarray:
        rates = []
        for row in weights:
            refused = np.cumsum(np.where(same, row[left], 0))[ends]
            impostors = np.cumsum(np.where(same, 0, row[left] * row[right]))[ends]
            if not refused[-1] or not impostors[-1]:
                rates.append(np.nan)
                continue
            rates.append(_crossing(refused / refused[-1], 1 - impostors / impostors[-1]))
        return np.array(rates)

    return statistic


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


def _cosines(embeddings: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Cosine similarities (p,) float32 of embeddings left[i] and right[i]; 0 if one of them is all zeros."""
    scores = np.empty(len(left), np.float32)
    for start in range(0, len(left), PAIRS):
        part = slice(start, start + PAIRS)
        a, b = (np.asarray(embeddings[side[part]], np.float32) for side in (left, right))
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        scores[part] = np.einsum("ij,ij->i", a, b) / np.where(lengths > 0, lengths, 1)
    return scores


def _crossing(refused: np.ndarray, accepted: np.ndarray) -> float:
    """Rate at which two error rates are equal, by linear interpolation between thresholds in ascending order.

    refused: share of genuine pairs refused, ascending from 0. accepted: share of impostor pairs accepted, descending
    from 1.
    """
    refused, accepted = np.append(0, refused), np.append(1, accepted)
    i = int(np.argmax(refused >= accepted))
    before, after = accepted[i - 1] - refused[i - 1], refused[i] - accepted[i]
    return float(refused[i - 1] + (refused[i] - refused[i - 1]) * before / (before + after))
