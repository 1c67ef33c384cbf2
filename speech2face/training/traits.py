"""Traits: columns of people.csv as targets of a training."""

import numpy as np

from speech2face.data.dataset import Dataset


class Trait:
    """The encoding of a column of people.csv: standardised numbers, or class indices.

    values: the column for the people of the training set, numbers or text (see Dataset.columns).
    """

    def __init__(self, values: np.ndarray) -> None:
        self.names = None if values.dtype.kind == "f" else sorted({value for value in values.tolist() if value})
        self.classes = len(self.names) if self.names else 1
        self.mean, self.deviation = (0.0, 0.0) if self.names else (float(np.nanmean(values)), float(np.nanstd(values)))

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Encode values (n,): numbers as float32, NaN where unknown; text as int64 class indices, -1 where unknown."""
        if self.names is None:
            return ((values.astype(np.float64) - self.mean) / self.deviation).astype(np.float32)
        number = {name: i for i, name in enumerate(self.names)}
        return np.array([number.get(value, -1) for value in values.tolist()], np.int64)


def learnt_traits(dataset: Dataset, people: list[str], names: list[str]) -> dict[str, Trait]:
    """The traits that can be learnt: columns of people.csv that exist and have more than one value for these people."""
    heads = {name: Trait(values) for name, values in dataset.columns(names, people).items()}
    return {name: one for name, one in heads.items() if one.classes > 1 or one.deviation > 0}


def encode_traits(dataset: Dataset, people: list[str], heads: dict[str, Trait]) -> dict[str, np.ndarray]:
    """The encoded traits of some people, (n,) by name. heads: see learnt_traits."""
    columns = dataset.columns(list(heads), people)
    return {name: head.encode(columns[name]) for name, head in heads.items()}
