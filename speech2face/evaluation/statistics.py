"""Bootstrap intervals over people, and permutations of people for the level of chance.

Clips of one person are not independent. The bootstrap therefore resamples people, not clips: the cluster bootstrap of
Davison and Hinkley, "Bootstrap Methods and their Application" (1997), section 3.8, with percentile intervals.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

# (b, n) weights of n rows in b resamples -> (b,) values
Statistic = Callable[[np.ndarray], np.ndarray]
ROUNDING = 1e-6
BINS = 10  # of the expected calibration error
BLOCK = 2**22  # weights in memory at once


@dataclass(frozen=True, eq=False)
class OfRows:
    """A statistic of values that belong to the rows, which can be stored with them: see `of_kind`.

    kind: the name of the function that makes it: mean, median, correlation or mean_correlation. columns: (n,) each, the
    function's arguments.
    """

    kind: str
    columns: tuple[np.ndarray, ...]
    compute: Statistic

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        return self.compute(weights)


@dataclass(frozen=True)
class Estimate:
    """The value of a statistic and the bounds of its 95 % interval; NaN where they are undefined."""

    value: float
    low: float
    high: float


def bootstrap(statistic: Statistic, people: np.ndarray, samples: int = 1000, seed: int = 0) -> Estimate:
    """Value of a statistic of n rows, and its 95 % percentile interval from resampling people with replacement.

    statistic: maps weights (b, n), the count of each row in each of b resamples, to b values; `mean`, `median` and
    `correlation` make one. people: (n,) the person of each row, any type. samples: number of resamples.

    Resamples in which the statistic is undefined (NaN) are left out. Raises ValueError if there are no rows.
    """
    value, values = resampled(statistic, people, samples, seed)
    if np.isnan(value) or not len(values):
        return Estimate(value, np.nan, np.nan)
    return Estimate(value, *(float(bound) for bound in np.percentile(values, (2.5, 97.5))))


def resampled(statistic: Statistic, people: np.ndarray, samples: int = 1000, seed: int = 0) -> tuple[float, np.ndarray]:
    """Value of a statistic, and its values (at most `samples`,) in resamples of people; see `bootstrap`."""
    names, person = np.unique(people, return_inverse=True)
    if not len(names):
        raise ValueError("no rows to bootstrap")
    generator = np.random.default_rng(seed)
    value = float(statistic(np.ones((1, len(person))))[0])
    step = max(1, BLOCK // len(person))
    parts = []
    for start in range(0, samples, step):
        size = min(step, samples - start)
        draws = generator.integers(0, len(names), (size, len(names))) + len(names) * np.arange(size)[:, None]
        counts = np.bincount(draws.ravel(), minlength=size * len(names)).reshape(size, len(names))
        parts.append(statistic(counts[:, person].astype(np.float64)))
    values = np.concatenate(parts)
    return value, values[~np.isnan(values)]


def permutations(people: np.ndarray, count: int = 100, seed: int = 0) -> Iterator[np.ndarray]:
    """Random pairings of n rows with rows of other people, `count` times: (n,) int64 row numbers each.

    people: (n,) the person of each row, any type. One permutation maps every person to one person, possibly to itself.
    The rows of a person are paired with the rows of the other person in order, and again from the first when these
    are used up.
    """
    names, person, counts = np.unique(people, return_inverse=True, return_counts=True)
    order = np.argsort(person, kind="stable")
    first = np.cumsum(counts) - counts
    turn = np.empty(len(person), np.int64)  # position of each row among those of its person
    turn[order] = np.arange(len(person)) - first[person[order]]
    generator = np.random.default_rng(seed)
    for _ in range(count):
        other = generator.permutation(len(names))[person]
        yield order[first[other] + turn % counts[other]]


def mean(values: np.ndarray) -> OfRows:
    """Mean of (n,) values. Recall, accuracy and mean absolute error are means of one value per row."""
    values = np.asarray(values, np.float64)
    return OfRows("mean", (values,), lambda weights: weights @ values / weights.sum(1))


def median(values: np.ndarray) -> OfRows:
    """Median of (n,) values; the mean of the middle two if their number is even."""
    order = np.argsort(values)
    ordered = np.asarray(values, np.float64)[order]

    def statistic(weights: np.ndarray) -> np.ndarray:
        reached = weights[:, order].cumsum(1)
        half = reached[:, -1:] / 2
        return (ordered[(reached >= half).argmax(1)] + ordered[(reached > half).argmax(1)]) / 2

    return OfRows("median", (values,), statistic)


def correlation(x: np.ndarray, y: np.ndarray) -> OfRows:
    """Pearson's correlation of two (n,) arrays, in -1..1; NaN if one of them is constant within float32 rounding."""
    constant = any(np.ptp(one) <= ROUNDING * np.abs(one).max() for one in (x, y))
    columns = (np.asarray(x), np.asarray(y))
    x, y = _shifted(x), _shifted(y)

    def statistic(weights: np.ndarray) -> np.ndarray:
        sums = weights @ np.stack([x, y, x * x, y * y, x * y], 1) / weights.sum(1, keepdims=True)
        mx, my, xx, yy, xy = sums.T
        if constant:
            return np.full(len(weights), np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (xy - mx * my) / np.sqrt(_variance(xx, mx) * _variance(yy, my))

    return OfRows("correlation", columns, statistic)


def mean_correlation(*columns: np.ndarray) -> OfRows:
    """Mean of the correlations of pairs of (n,) arrays: of the first with the second, the third with the fourth, ..."""
    parts = [correlation(x, y) for x, y in zip(columns[::2], columns[1::2], strict=True)]
    return OfRows("mean_correlation", columns, lambda weights: np.mean([one(weights) for one in parts], axis=0))


def of_kind(kind: str, columns: Sequence[np.ndarray]) -> OfRows:
    """The statistic of a kind (OfRows.kind) of columns (n,)."""
    functions = {one.__name__: one for one in (mean, median, correlation, mean_correlation)}
    return functions[kind](*columns)


def miscalibration(sure: np.ndarray, right: np.ndarray) -> Statistic:
    """The expected calibration error of probabilities (n,) that a statement is right (n,) bool, in ten equal bins.

    Guo et al., "On calibration of modern neural networks", ICML 2017.
    """
    bins = np.eye(BINS)[np.minimum((sure * BINS).astype(int), BINS - 1)]
    excess = bins * (sure - right)[:, None]
    return lambda weights: np.abs(weights @ excess).sum(1) / weights.sum(1)


def wilson(share: float, count: int) -> tuple[float, float]:
    """Bounds of the 95 % interval of a share (0..1) of `count` people (Wilson, JASA 22, 1927).

    The interval is accurate for few hits, too.
    """
    z = 1.96
    center = (share + z * z / (2 * count)) / (1 + z * z / count)
    margin = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, float(center - margin)), min(1.0, float(center + margin))


def _shifted(values: np.ndarray) -> np.ndarray:
    """Values minus their first: exactly zero for a constant, and no cancellation if the mean is large."""
    values = np.asarray(values, np.float64)
    return values - values[0]


def _variance(square: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Variance from the means of squares and of values; NaN if it is no larger than its rounding error."""
    variance = square - mean**2
    return np.where(variance > 1e-12 * square, variance, np.nan)
