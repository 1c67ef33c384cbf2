"""Traits: columns of people.csv as targets of a training."""

from collections.abc import Sequence

import numpy as np

from speech2face.data.dataset import Dataset, is_number


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
            return ((as_numbers(values) - self.mean) / self.deviation).astype(np.float32)
        number = {name: i for i, name in enumerate(self.names)}
        return np.array([number.get(value, -1) for value in values.tolist()], np.int64)


def as_numbers(values: np.ndarray) -> np.ndarray:
    """Numbers (n,) as float64; NaN for text that is no number."""
    return values if values.dtype.kind == "f" else np.array([float(v) if is_number(v) else np.nan for v in values])


def learnt_traits(people: Sequence[tuple[Dataset, list[str]]], names: list[str]) -> dict[str, Trait]:
    """The traits that can be learnt: columns of people.csv that exist and have more than one value for these people.

    people: of each dataset. A column is a number if it is one in the first dataset that has it.
    """
    columns = [dataset.columns(names, some) for dataset, some in people]
    heads = {}
    for name in names:
        if found := [one[name] for one in columns if name in one]:
            numeric = found[0].dtype.kind == "f"
            heads[name] = Trait(np.concatenate([as_numbers(one) if numeric else one.astype(str) for one in found]))
    return {name: one for name, one in heads.items() if one.classes > 1 or one.deviation > 0}


def encode_traits(dataset: Dataset, people: list[str], heads: dict[str, Trait]) -> dict[str, np.ndarray]:
    """The encoded traits of some people, (n,) by name. heads: see learnt_traits. What people.csv lacks is unknown."""
    columns = dataset.columns(list(heads), people)
    unknown = np.full(len(people), "")
    return {name: head.encode(columns.get(name, unknown)) for name, head in heads.items()}
