"""Columns of people.csv as targets of a training."""

import numpy as np

from speech2face.data.dataset import Dataset


class Trait:
    """A column of people.csv as a network learns it: a standardised number, or a class."""

    def __init__(self, values: np.ndarray) -> None:
        self.names = None if values.dtype.kind == "f" else sorted({value for value in values.tolist() if value})
        self.classes = len(self.names) if self.names else 1
        self.mean, self.deviation = (0.0, 0.0) if self.names else (float(np.nanmean(values)), float(np.nanstd(values)))

    def encode(self, values: np.ndarray) -> np.ndarray:
        """(n,) float32, NaN where unknown; or int64, -1 where unknown."""
        if self.names is None:
            return ((values.astype(np.float64) - self.mean) / self.deviation).astype(np.float32)
        number = {name: i for i, name in enumerate(self.names)}
        return np.array([number.get(value, -1) for value in values.tolist()], np.int64)


def learnt_traits(dataset: Dataset, people: list[str], names: list[str]) -> dict[str, Trait]:
    """Columns of people.csv that exist and have more than one value among these people."""
    heads = {name: Trait(values) for name, values in dataset.columns(names, people).items()}
    return {name: one for name, one in heads.items() if one.classes > 1 or one.deviation > 0}


def encode_traits(dataset: Dataset, people: list[str], heads: dict[str, Trait]) -> dict[str, np.ndarray]:
    """Each trait of these people, (n,), as a network learns it."""
    columns = dataset.columns(list(heads), people)
    return {name: head.encode(columns[name]) for name, head in heads.items()}
