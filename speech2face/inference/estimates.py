"""Estimates of sex and age from an embedding, by linear functions that come with an encoder's weights."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """How a voice sounds, or how a face looks, which need not be what a person is. None: the weights do not tell.

    sex: "female" or "male". sex_probability: its probability, 0.5 to 1. age: in years. age_low, age_high: the interval
    that holds the age of nine in ten people.
    """

    sex: str | None = None
    sex_probability: float | None = None
    age: float | None = None
    age_low: float | None = None
    age_high: float | None = None

    def row(self) -> dict[str, float | str | None]:
        """The columns of results.csv: probabilities with three digits, ages with one."""
        digits = {"sex_probability": 3, "age": 1, "age_low": 1, "age_high": 1}
        return {
            name: round(value, digits[name]) if name in digits and value is not None else value
            for name, value in asdict(self).items()
        }

    def __str__(self) -> str:
        """Such as "female (97 %), 43 years (25 to 61)"; "" without estimates."""
        sex = f"{self.sex} ({100 * self.sex_probability:.0f} %)" if self.sex else ""
        age = f"{self.age:.0f} years ({self.age_low:.0f} to {self.age_high:.0f})" if self.age is not None else ""
        return ", ".join(filter(None, (sex, age)))


NOTHING = Estimate()


class Estimates:
    """Embedding (4096,) -> Estimate.

    sex: (4097,) weights and constant of the log odds of "female". age: (4097,) those of the age in years.
    age_errors: (2,) the 5 % and the 95 % quantile of true minus estimated age. All three can be absent.
    """

    def __init__(self, numbers: Mapping[str, np.ndarray]) -> None:
        self.numbers = dict(numbers)

    def read(self, name: str, embeddings: np.ndarray) -> np.ndarray:
        """The log odds ("sex") or the years ("age") of embeddings (..., 4096)."""
        weights = self.numbers[name].astype(np.float64)
        return embeddings @ weights[:-1] + weights[-1]

    def __call__(self, embedding: np.ndarray) -> Estimate:
        found: dict[str, float | str] = {}
        if "sex" in self.numbers:
            odds = float(self.read("sex", embedding))
            found["sex"] = "female" if odds > 0 else "male"
            found["sex_probability"] = float(1 / (1 + np.exp(-abs(odds))))
        if "age" in self.numbers:
            age = float(self.read("age", embedding))
            low, high = self.numbers["age_errors"].tolist()
            found |= {"age": max(age, 0.0), "age_low": max(age + low, 0.0), "age_high": max(age + high, 0.0)}
        return Estimate(**found)
