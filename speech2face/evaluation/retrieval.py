"""Retrieval of the true face by a predicted feature: Speech2Face (Oh et al., CVPR 2019), section 4.1 and table 3.

L1 and L2 are taken between features as they stand, the cosine does not see their lengths. Both sides may be
memory-mapped, of any float type: `chunk` rows of each are in memory at once, below 1 GB for rows of 4096 values.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
import torch
from scipy import stats
from tqdm import tqdm

METRICS = ("cosine", "l1", "l2")
# float32 scores closer than this, relative to the vectors' lengths, are decided in float64: a sum of 4096 products is
# off by some 10 eps at one standard deviation where all have one sign, and by less elsewhere
ROUNDING = 64 * float(np.finfo(np.float32).eps)
DOUBLE_ROUNDING = 1e-13


def ranks(
    queries: np.ndarray,
    gallery: np.ndarray,
    truth: np.ndarray,
    metric: str = "cosine",
    seed: int = 0,
    chunk: int = 2048,
) -> np.ndarray:
    """Rank of the true face of every query among the whole gallery.

    queries: (n, d); gallery: (m, d), one row per face; truth: (n,) integers, the gallery row query i is looking for;
    metric: "cosine", "l1" or "l2". Returns (n,) int64 in 1..m, 1 for the nearest. Rows exactly as far as the true one
    come before or after it at random, from `seed`: constant features score at chance. A row of zeros has cosine zero
    with every other. What float32 cannot tell apart is decided in float64, so that `chunk` changes no rank.
    Raises ValueError for an unknown metric, widths that differ, truth outside the gallery, features not finite.
    """
    truth = np.asarray(truth)
    if truth.shape != (len(queries),) or np.any(truth < 0) or np.any(truth >= len(gallery)):
        raise ValueError(f"truth must give each of {len(queries)} queries one of {len(gallery)} gallery rows")
    same = _digests(gallery, chunk)
    nearer, tied = np.zeros((2, len(queries)), np.int64)
    for start, asked, offset, scores, shift, error in _blocks(queries, gallery, metric, chunk):
        if offset == 0:
            true = truth[start : start + chunk]
            true_score = _exact(asked, np.arange(len(asked)), gallery, true, metric)
        target = torch.from_numpy(true_score) - shift
        difference = scores.sub_(target.float()[:, None])
        nearer[start : start + chunk] += (difference < -error).sum(1).numpy()
        i, row = torch.nonzero(difference.abs_() <= error).numpy().T
        row = row + offset
        equal = same[row] == same[true[i]]
        if metric == "cosine":  # a query of zeros ties with every row: nothing to work out
            equal |= ~asked.any(1).numpy()[i]
        np.add.at(tied, start + i[equal], 1)
        i, row = i[~equal], row[~equal]
        exact = _exact(asked, i, gallery, row, metric)
        np.add.at(nearer, start + i, exact < true_score[i])
        np.add.at(tied, start + i, exact == true_score[i])
    # the true row is one of the tied
    return 1 + nearer + np.random.default_rng(seed).integers(0, tied)


def top(queries: np.ndarray, gallery: np.ndarray, k: int, metric: str = "cosine", chunk: int = 2048) -> np.ndarray:
    """The k nearest gallery rows of every query, nearest first: (n, k) int64, k at most the gallery's size.

    Arguments and errors as for `ranks`; equally near rows come in the gallery's order, but which of several that
    differ by less than float32 resolves takes the last place is left open.
    """
    if not 1 <= k <= len(gallery):
        raise ValueError(f"cannot give {k} of {len(gallery)} gallery rows")
    best = np.zeros((len(queries), k), np.int64)
    for start, asked, offset, scores, _, _ in _blocks(queries, gallery, metric, chunk):
        found = torch.arange(offset, offset + scores.shape[1]).expand_as(scores)
        if offset == 0:
            kept, rows = scores[:, :0], found[:, :0]
        scores, found = torch.cat([kept, scores], 1), torch.cat([rows, found], 1)
        kept, places = scores.topk(min(k, scores.shape[1]), dim=1, largest=False)
        rows = found.gather(1, places)
        if offset + chunk >= len(gallery):
            rows = rows.sort(1).values.numpy()
            who = np.repeat(np.arange(len(asked)), k)
            exact = _exact(asked, who, gallery, rows.ravel(), metric).reshape(rows.shape)
            best[start : start + chunk] = np.take_along_axis(rows, exact.argsort(1, kind="stable"), 1)
    return best


def recall(ranks: np.ndarray, k: int, gallery_size: int, sampled_size: int | None = None) -> np.ndarray:
    """Recall at k of every query, (n,) in 0..1; the mean over queries is the figure, and chance is k / size.

    ranks: (n,) among gallery_size faces. With sampled_size, the exact expectation over random galleries of that many
    faces, the true one among them: the count of nearer faces is hypergeometric.
    """
    return _placed(ranks, k, gallery_size, sampled_size or gallery_size)


def _placed(ranks: np.ndarray, k: int, gallery_size: int, size: int) -> np.ndarray:
    """Probability that a query of this rank in the whole gallery comes k-th or better among `size` of its faces."""
    ranks = np.asarray(ranks)
    if not 1 <= size <= gallery_size or np.any(ranks < 1) or np.any(ranks > gallery_size):
        raise ValueError(f"ranks must lie in 1..{gallery_size} and the sampled size in the same range")
    if size == gallery_size:
        return (ranks <= k).astype(np.float64)
    values, inverse = np.unique(ranks, return_inverse=True)
    expected = (values - 1) * (size - 1) / (gallery_size - 1)
    placed = (expected < k).astype(np.float64)
    near = np.abs(expected - k) < 5 * size**0.5 + 1  # Hoeffding: beyond that the rest is below 1e-20
    placed[near] = stats.hypergeom.cdf(k - 1, gallery_size - 1, values[near] - 1, size - 1)
    return placed[inverse]


def _blocks(queries: np.ndarray, gallery: np.ndarray, metric: str, chunk: int) -> Iterator[tuple]:
    """Every block of queries against every block of the gallery, gallery innermost.

    Yields the first query, the queries (b, d) float64, the first gallery row, and (b, c) float32 scores that order
    rows as the distance does; a score is `_exact` less `shift` (b,), right to within `error` (b, c).
    """
    if metric not in METRICS:
        raise ValueError(f"no metric {metric!r}, only {', '.join(METRICS)}")
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1] or not len(gallery):
        raise ValueError(f"queries {queries.shape} and gallery {gallery.shape} must be rows of equal width")
    # float32 resolves differences from the centre of the gallery better than features that lie far from the origin
    center = sum(_load(gallery[i : i + chunk], metric).sum(0) for i in range(0, len(gallery), chunk)) / len(gallery)
    norm, power = (1, 1) if metric == "l1" else (2, 2)
    far = center.norm(p=norm)
    progress = tqdm(total=len(queries) * len(gallery), desc=f"{metric} distances", unit_scale=True, delay=5)
    for start in range(0, len(queries), chunk):
        asked = _load(queries[start : start + chunk], metric)
        query = asked - center
        length = query.norm(p=norm, dim=1)
        shift = {"cosine": -(asked @ center), "l2": length**2, "l1": torch.zeros(len(asked))}[metric]
        query, length = query.float(), length.float()[:, None]
        for offset in range(0, len(gallery), chunk):
            rows = _load(gallery[offset : offset + chunk], metric) - center
            lengths = rows.norm(p=norm, dim=1)
            if metric == "l1":
                scores, size = _l1(query, rows.float()), length + lengths.float()
            else:  # -cosine, less what no row changes: -(q - c)(g - c) - c (g - c); L2: -2 (q - c)(g - c) + |g - c|^2
                factor, own = (1, -(rows @ center)) if metric == "cosine" else (2, lengths**2)
                scores = torch.addmm(own.float(), query, rows.float().T, alpha=-factor)
                size = torch.addmm(own.abs().float(), length, lengths.float()[None], alpha=factor)
            error = size.mul_(ROUNDING).add_(DOUBLE_ROUNDING * float(length.max() + lengths.max() + far) ** power)
            yield start, asked, offset, scores, shift, error
            progress.update(scores.numel())
    progress.close()


def _l1(queries: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """(b, c) sums of absolute differences; twice as fast as torch.cdist where the differences stay in the cache."""
    sums, step = torch.empty(len(queries), len(rows)), 256
    for i in range(0, len(rows), step):
        part = rows[i : i + step]
        differences = torch.empty_like(part)
        for query, line in zip(queries, sums, strict=True):
            torch.sub(part, query, out=differences)
            torch.sum(differences.abs_(), 1, out=line[i : i + step])
    return sums


def _exact(asked: torch.Tensor, i: np.ndarray, gallery: np.ndarray, rows: np.ndarray, metric: str) -> np.ndarray:
    """Float64 scores of query i[p] (already loaded) and gallery row rows[p], (p,): -cosine, L1 or squared L2."""
    scores = np.empty(len(i))
    for start in range(0, len(i), 512):
        part = slice(start, start + 512)
        a, b = asked[torch.from_numpy(i[part])], _load(gallery[rows[part]], metric)
        terms = -a * b if metric == "cosine" else (a - b).abs() if metric == "l1" else (a - b) ** 2
        scores[part] = terms.sum(1).numpy()
    return scores


def _load(rows: np.ndarray, metric: str) -> torch.Tensor:
    """Rows as float64, of length one (or zero) for the cosine; raises ValueError where one is not finite."""
    loaded = torch.from_numpy(np.array(rows, np.float64))
    if not loaded.isfinite().all():
        raise ValueError("features must be finite")
    if metric == "cosine":
        lengths = loaded.norm(dim=1, keepdim=True)
        loaded /= torch.where(lengths > 0, lengths, 1)
    return loaded


def _digests(gallery: np.ndarray, chunk: int) -> np.ndarray:
    """(m,) uint64 that are equal where gallery rows are."""
    digests = bytearray()
    for start in range(0, len(gallery), chunk):
        for row in np.ascontiguousarray(gallery[start : start + chunk]):
            digests += hashlib.blake2b(row, digest_size=8).digest()
    return np.frombuffer(digests, np.uint64)
