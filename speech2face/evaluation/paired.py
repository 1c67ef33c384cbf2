"""Differences of the metrics of two evaluations of the same people: a paired bootstrap.

People differ more than encoders do. The intervals of two encoders can therefore overlap although one is better for
nearly everybody. Here both encoders are resampled with the same people, so that what people share cancels out
(Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import norm

from speech2face.evaluation.estimator import Metric
from speech2face.evaluation.statistics import of_kind, resampled
from speech2face.files import atomic

FILE = "values.parquet"
SAMPLES = 2000


@dataclass(frozen=True)
class Rows:
    """The values that a metric was computed of. kind, columns: of statistics.OfRows. people: (n,) names."""

    kind: str
    columns: tuple[np.ndarray, ...]
    people: np.ndarray

    def of(self, people: set[str]) -> "Rows":
        """The rows of some people."""
        kept = np.array([one in people for one in self.people], bool)
        return Rows(self.kind, tuple(column[kept] for column in self.columns), self.people[kept])


@dataclass(frozen=True)
class Difference:
    """A metric of one evaluation minus that of another, over the people of both.

    low, high: bounds of the 95 % interval. p: two-sided, by the normal distribution with the resamples' deviation.
    people: number of people.
    """

    value: float
    low: float
    high: float
    p: float
    people: int


def write_values(directory: Path, metrics: Mapping[str, Metric]) -> None:
    """Write values.parquet: for every metric that is computed of rows, a row each: metric, kind, person, values."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema({"metric": text, "kind": text, "person": text, "values": pa.list_(pa.float64())})
    with atomic(directory / FILE) as partial, pq.ParquetWriter(str(partial), schema, compression="zstd") as file:
        for name, metric in metrics.items():
            if metric.statistic is None:
                continue
            columns = np.stack([np.asarray(one, np.float64) for one in metric.statistic.columns], axis=1)
            n, width = columns.shape
            values = pa.ListArray.from_arrays(np.arange(n + 1, dtype=np.int32) * width, pa.array(columns.ravel()))
            constants = ([name] * n, [metric.statistic.kind] * n, np.asarray(metric.people).tolist())
            file.write_table(pa.table([*(pa.array(one).dictionary_encode() for one in constants), values], schema))


def read_values(directory: Path, metrics: Sequence[str]) -> dict[str, Rows]:
    """The rows of some metrics of an evaluation, by name; {} if it has no values.parquet."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if not (directory / FILE).exists():
        return {}
    found = {}
    table = pq.read_table(directory / FILE)
    for name in metrics:
        rows = table.filter(pc.equal(table["metric"], name))
        if len(rows):
            columns = np.array(rows["values"].to_pylist(), np.float64).T
            found[name] = Rows(rows["kind"][0].as_py(), tuple(columns), np.array(rows["person"].to_pylist()))
    return found


def difference(a: Rows, b: Rows, samples: int = SAMPLES, seed: int = 0) -> Difference | None:
    """The metric of `b` minus that of `a`; None if fewer than two people have both, or if it is undefined."""
    common = set(a.people.tolist()) & set(b.people.tolist())
    if len(common) < 2 or a.kind != b.kind or len(a.columns) != len(b.columns):
        return None
    a, b = a.of(common), b.of(common)
    first, second, n = of_kind(a.kind, a.columns), of_kind(b.kind, b.columns), len(a.people)
    value, values = resampled(
        lambda weights: second(weights[:, n:]) - first(weights[:, :n]),
        np.concatenate([a.people, b.people]),
        samples,
        seed,
    )
    if np.isnan(value) or not len(values):
        return None
    low, high = np.percentile(values, (2.5, 97.5))
    deviation = float(values.std())
    p = float(2 * norm.sf(abs(value) / deviation)) if deviation else float(value == 0)
    return Difference(value, float(low), float(high), p, len(common))


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm, "A simple sequentially rejective multiple test procedure", 1979)."""
    order = np.argsort(p)
    corrected = np.maximum.accumulate(np.asarray(p, np.float64)[order] * np.arange(len(p), 0, -1))
    found = np.empty(len(p))
    found[order] = np.minimum(corrected, 1)
    return found.tolist()
