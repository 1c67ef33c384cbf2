"""A metric with its 95 % interval over people and its level of chance, and what estimates it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from speech2face.evaluation import statistics
from speech2face.evaluation.statistics import OfRows, Statistic, bootstrap, permutations, wilson

FEW = 10  # hits or misses


@dataclass(frozen=True)
class Metric:
    """A measured quantity, the bounds of its 95 % interval, and its level of chance; NaN where undefined.

    statistic, people: the rows that it was computed of, and the person (n,) of each; None if it is not of rows. Metrics
    are equal if their numbers are.
    """

    value: float
    low: float
    high: float
    chance: float
    statistic: OfRows | None = field(default=None, compare=False)
    people: np.ndarray | None = field(default=None, compare=False)


@dataclass
class Estimator:
    """Estimates metrics of n rows.

    people: (n,) the person of each row. samples: number of bootstrap resamples. seed: of resamples and permutations.
    """

    people: np.ndarray
    samples: int = 1000
    seed: int = 0

    def __call__(self, statistic: Statistic, chance: float | Callable[[np.ndarray], float]) -> Metric:
        """Metric of a statistic of the rows, as `statistics.bootstrap` takes it.

        chance: the level of chance; or a function that maps row numbers (n,) to the value of the predictions against
        the truth of these rows, whose mean over 100 permutations of people is the level of chance.
        """
        estimate = bootstrap(statistic, self.people, self.samples, self.seed)
        level = float(np.mean([chance(rows) for rows in self.pairings(100)])) if callable(chance) else chance
        rows = (statistic, self.people) if isinstance(statistic, OfRows) else ()
        return Metric(estimate.value, estimate.low, estimate.high, level, *rows)

    def share(self, hits: np.ndarray, chance: float | Callable[[np.ndarray], float]) -> Metric:
        """Metric of a share: the mean of (n,) values in 0..1.

        With fewer than ten hits or misses the interval contains at least Wilson's, because the bootstrap interval is
        too narrow then, and of length zero without any.
        """
        metric = self(statistics.mean(hits), chance)
        if min(hits.sum(), len(hits) - hits.sum()) >= FEW:
            return metric
        low, high = wilson(metric.value, len(np.unique(self.people)))
        return replace(metric, low=min(low, metric.low), high=max(high, metric.high))

    def pairings(self, count: int) -> Iterator[np.ndarray]:
        """Row numbers (n,) of other people for every row, `count` times: see `statistics.permutations`."""
        return permutations(self.people, count, self.seed)

    def of(self, rows: np.ndarray) -> "Estimator":
        """The same estimator for some of the rows."""
        return Estimator(self.people[rows], self.samples, self.seed)
