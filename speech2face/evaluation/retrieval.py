"""Retrieval of the true face by a predicted embedding: Speech2Face (Oh et al., CVPR 2019), section 4.1 and table 3.

L1 and L2 distances are between embeddings as they are; the cosine distance does not depend on their lengths. Queries
and gallery may be memory-mapped, of any float type. `chunk` rows of each are in memory at once, less than 1 GB for rows
of 4096 values.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
import torch
from scipy import stats
from tqdm import tqdm

DISTANCES = ("cosine", "l1", "l2")
# Float32 scores that differ by less than this, relative to the vectors' lengths, are compared again in float64. The
# rounding error of a sum of 4096 products has a standard deviation of some 10 eps if all have one sign, and less else.
ROUNDING = 64 * float(np.finfo(np.float32).eps)
DOUBLE_ROUNDING = 1e-13


def ranks(
    queries: np.ndarray,
    gallery: np.ndarray,
    truth: np.ndarray,
    distance: str = "cosine",
    seed: int = 0,
    chunk: int = 2048,
) -> np.ndarray:
    """Rank of the true face of every query in the whole gallery, (n,) int64 in 1..m; 1 is the nearest.

    queries: (n, d). gallery: (m, d), one row per face. truth: (n,) integers, the true gallery row of each query.
    distance: "cosine", "l1" or "l2".

    Gallery rows exactly as far from the query as the true row come before or after it at random, from `seed`; constant
    embeddings are therefore at chance. The cosine of a row of zeros with any row is zero. Float32 scores too close to
    tell apart are compared in float64, so that ranks do not depend on `chunk`.

    Raises ValueError for an unknown distance, widths that differ, truth outside the gallery, and embeddings that are
    not finite.
    """
    truth = np.asarray(truth)
    if truth.shape != (len(queries),) or np.any(truth < 0) or np.any(truth >= len(gallery)):
        raise ValueError(f"truth must give each of {len(queries)} queries one of {len(gallery)} gallery rows")
    same = _digests(gallery, chunk)
    nearer, tied = np.zeros((2, len(queries)), np.int64)
    for start, block, offset, scores, shift, error in _blocks(queries, gallery, distance, chunk):
        if offset == 0:
            true = truth[start : start + chunk]
            true_score = _exact(block, np.arange(len(block)), gallery, true, distance)
        target = torch.from_numpy(true_score) - shift
        difference = scores.sub_(target.float()[:, None])
        nearer[start : start + chunk] += (difference < -error).sum(1).numpy()
        i, row = torch.nonzero(difference.abs_() <= error).numpy().T
        row = row + offset
        equal = same[row] == same[true[i]]
        if distance == "cosine":  # a query of zeros ties with every row, whatever the rounding
            equal |= ~block.any(1).numpy()[i]
        np.add.at(tied, start + i[equal], 1)
        i, row = i[~equal], row[~equal]
        exact = _exact(block, i, gallery, row, distance)
        np.add.at(nearer, start + i, exact < true_score[i])
        np.add.at(tied, start + i, exact == true_score[i])
    # The true row is one of the tied rows.
    return 1 + nearer + np.random.default_rng(seed).integers(0, tied)


def top(queries: np.ndarray, gallery: np.ndarray, k: int, distance: str = "cosine", chunk: int = 2048) -> np.ndarray:
    """The k nearest gallery rows of every query, nearest first: (n, k) int64.

    queries, gallery, distance and errors: as for `ranks`. k: at most the size of the gallery, else ValueError.
    Rows equally far from a query are in the gallery's order. If several rows differ by less than the resolution of
    float32, any of them may take the last place.
    """
    if not 1 <= k <= len(gallery):
        raise ValueError(f"cannot give {k} of {len(gallery)} gallery rows")
    best = np.zeros((len(queries), k), np.int64)
    for start, block, offset, scores, _, _ in _blocks(queries, gallery, distance, chunk):
        found = torch.arange(offset, offset + scores.shape[1]).expand_as(scores)
        if offset == 0:
            kept, rows = scores[:, :0], found[:, :0]
        scores, found = torch.cat([kept, scores], 1), torch.cat([rows, found], 1)
        kept, places = scores.topk(min(k, scores.shape[1]), dim=1, largest=False)
        rows = found.gather(1, places)
        if offset + chunk >= len(gallery):
            rows = rows.sort(1).values.numpy()
            query_of = np.repeat(np.arange(len(block)), k)
            exact = _exact(block, query_of, gallery, rows.ravel(), distance).reshape(rows.shape)
            best[start : start + chunk] = np.take_along_axis(rows, exact.argsort(1, kind="stable"), 1)
    return best


def recall(ranks: np.ndarray, k: int, gallery_size: int, sampled_size: int | None = None) -> np.ndarray:
    """Recall at k of every query, (n,) float64 in 0..1. Their mean is the metric; its level of chance is k / size.

    ranks: (n,) in 1..gallery_size. sampled_size: size of random galleries that contain the true face; None: the whole
    gallery. The value is then the exact expectation over all such galleries: the number of faces nearer than the true
    one has a hypergeometric distribution. Raises ValueError for ranks or a sampled size outside 1..gallery_size.
    """
    return _placed(ranks, k, gallery_size, sampled_size or gallery_size)


def _placed(ranks: np.ndarray, k: int, gallery_size: int, size: int) -> np.ndarray:
    """Probability, for each rank in the whole gallery, of a rank of at most k among `size` random faces of it."""
    ranks = np.asarray(ranks)
    if not 1 <= size <= gallery_size or np.any(ranks < 1) or np.any(ranks > gallery_size):
        raise ValueError(f"ranks must lie in 1..{gallery_size} and the sampled size in the same range")
    if size == gallery_size:
        return (ranks <= k).astype(np.float64)
    values, inverse = np.unique(ranks, return_inverse=True)
    expected = (values - 1) * (size - 1) / (gallery_size - 1)
    placed = (expected < k).astype(np.float64)
    near = np.abs(expected - k) < 5 * size**0.5 + 1  # Hoeffding: elsewhere it is 0 or 1 to within 1e-20
    placed[near] = stats.hypergeom.cdf(k - 1, gallery_size - 1, values[near] - 1, size - 1)
    return placed[inverse]


def _blocks(
    queries: np.ndarray, gallery: np.ndarray, distance: str, chunk: int
) -> Iterator[tuple[int, torch.Tensor, int, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Scores of every block of queries against every block of the gallery; the gallery is the inner loop.

    Yields (start, block, offset, scores, shift, error): number of the first query, the queries (b, d) from `_load`,
    number of the first gallery row, and scores (b, c) float32, which order the rows as the distance does. A score is
    the value of `_exact` minus `shift` (b,), correct to within `error` (b, c).
    """
    if distance not in DISTANCES:
        raise ValueError(f"no distance {distance!r}, only {', '.join(DISTANCES)}")
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1] or not len(gallery):
        raise ValueError(f"queries {queries.shape} and gallery {gallery.shape} must be rows of equal width")
    # Float32 resolves differences from the centre of the gallery better than embeddings far from the origin.
    center = sum(_load(gallery[i : i + chunk], distance).sum(0) for i in range(0, len(gallery), chunk)) / len(gallery)
    norm, power = (1, 1) if distance == "l1" else (2, 2)
    far = center.norm(p=norm)
    progress = tqdm(total=len(queries) * len(gallery), desc=f"{distance} distances", unit_scale=True, delay=5)
    for start in range(0, len(queries), chunk):
        block = _load(queries[start : start + chunk], distance)
        query = block - center
        length = query.norm(p=norm, dim=1)
        shift = {"cosine": -(block @ center), "l2": length**2, "l1": torch.zeros(len(block))}[distance]
        query, length = query.float(), length.float()[:, None]
        for offset in range(0, len(gallery), chunk):
            rows = _load(gallery[offset : offset + chunk], distance) - center
            lengths = rows.norm(p=norm, dim=1)
            if distance == "l1":
                scores, size = _l1(query, rows.float()), length + lengths.float()
            else:  # without terms that are the same for all rows: cosine -(q - c)(g - c) - c (g - c),
                # L2 -2 (q - c)(g - c) + |g - c|^2
                factor, own = (1, -(rows @ center)) if distance == "cosine" else (2, lengths**2)
                scores = torch.addmm(own.float(), query, rows.float().T, alpha=-factor)
                size = torch.addmm(own.abs().float(), length, lengths.float()[None], alpha=factor)
            error = size.mul_(ROUNDING).add_(DOUBLE_ROUNDING * float(length.max() + lengths.max() + far) ** power)
            yield start, block, offset, scores, shift, error
            progress.update(scores.numel())
    progress.close()


def _l1(queries: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """L1 distances (b, c); twice as fast as torch.cdist while the differences fit into the processor's cache."""
    sums, step = torch.empty(len(queries), len(rows)), 256
    for i in range(0, len(rows), step):
        part = rows[i : i + step]
        differences = torch.empty_like(part)
        for query, line in zip(queries, sums, strict=True):
            torch.sub(part, query, out=differences)
            torch.sum(differences.abs_(), 1, out=line[i : i + step])
    return sums


def _exact(block: torch.Tensor, i: np.ndarray, gallery: np.ndarray, rows: np.ndarray, distance: str) -> np.ndarray:
    """Scores (p,) float64 of queries block[i], from `_load`, and gallery[rows]: -cosine, L1 or squared L2."""
    scores = np.empty(len(i))
    for start in range(0, len(i), 512):
        part = slice(start, start + 512)
        a, b = block[torch.from_numpy(i[part])], _load(gallery[rows[part]], distance)
        terms = -a * b if distance == "cosine" else (a - b).abs() if distance == "l1" else (a - b) ** 2
        scores[part] = terms.sum(1).numpy()
    return scores


def _load(rows: np.ndarray, distance: str) -> torch.Tensor:
    """Rows as float64, for the cosine scaled to length one unless zero; raises ValueError if one is not finite."""
    loaded = torch.from_numpy(np.array(rows, np.float64))
    if not loaded.isfinite().all():
        raise ValueError("embeddings must be finite")
    if distance == "cosine":
        lengths = loaded.norm(dim=1, keepdim=True)
        loaded /= torch.where(lengths > 0, lengths, 1)
    return loaded


def _digests(gallery: np.ndarray, chunk: int) -> np.ndarray:
    """Hashes (m,) uint64 of the gallery's rows; equal rows have equal hashes."""
    digests = bytearray()
    for start in range(0, len(gallery), chunk):
        for row in np.ascontiguousarray(gallery[start : start + chunk]):
            digests += hashlib.blake2b(row, digest_size=8).digest()
    return np.frombuffer(digests, np.uint64)
