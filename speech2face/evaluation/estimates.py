"""Fit and test estimates of sex and age from embeddings (speech2face.inference.estimates)."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import pearsonr
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from speech2face.evaluation import statistics
from speech2face.evaluation.probes import fit_classifier, fit_regressor
from speech2face.inference.cache import batches
from speech2face.inference.estimates import Estimates

if TYPE_CHECKING:
    from speech2face.evaluation.evaluation import Material

LEAST = 10  # people of each sex, or of known age, to fit on; half of them to calibrate on


@dataclass
class Heard:
    """Embeddings of some people, with what is known of them.

    embeddings: (n, 4096). people: (n,) number of the person of each row. sex: (n,) "female", "male" or "".
    age: (n,) years, NaN where unknown.
    """

    embeddings: np.ndarray
    people: np.ndarray
    sex: np.ndarray
    age: np.ndarray

    def where(self, known: np.ndarray) -> "Heard":
        """The rows of a mask (n,)."""
        return Heard(self.embeddings[known], self.people[known], self.sex[known], self.age[known])

    def of_known(self, trait: str) -> "Heard":
        """The rows whose sex or age is known."""
        return self.where(self.sex != "" if trait == "sex" else np.isfinite(self.age))

    @staticmethod
    def all_of(parts: "list[Heard]") -> "Heard":
        """The rows of several; each has people of its own."""
        offsets = np.cumsum([0, *(one.people.max(initial=-1) + 1 for one in parts)])
        people = [one.people + offset for one, offset in zip(parts, offsets, strict=False)]
        joined = ([getattr(one, name) for one in parts] for name in ("embeddings", "sex", "age"))
        embeddings, sex, age = map(np.concatenate, joined)
        return Heard(embeddings, np.concatenate(people), sex, age)


def fit(train: Heard, val: Heard) -> Estimates:
    """Fit linear functions on some people, and calibrate them on others.

    The log odds of the sex are scaled on `val` (Platt, "Probabilistic outputs for support vector machines", 1999, with
    his smoothed labels, so that few people give no certainty). The interval of the age is that of the errors on `val`.
    A trait that too few people have known is left out.
    """
    found: dict[str, np.ndarray] = {}
    learnt, held_out = train.of_known("sex"), val.of_known("sex")
    counts = [len(np.unique(one.people[one.sex == sex])) for one in (learnt, held_out) for sex in ("female", "male")]
    if min(counts[:2]) >= LEAST and min(counts[2:]) >= LEAST // 2:
        probe = Estimates({"sex": linear(fit_classifier(learnt.embeddings, learnt.sex == "female", learnt.people))})
        slope, offset = platt(probe.read("sex", held_out.embeddings), held_out.sex == "female")
        found["sex"] = slope * probe.numbers["sex"]
        found["sex"][-1] += offset
    learnt, held_out = train.of_known("age"), val.of_known("age")
    if len(np.unique(learnt.people)) >= LEAST and len(np.unique(held_out.people)) >= LEAST // 2:
        found["age"] = linear(fit_regressor(learnt.embeddings, learnt.age, learnt.people))
        errors = held_out.age - Estimates(found).read("age", held_out.embeddings)
        found["age_errors"] = np.quantile(errors, (0.05, 0.95))
    return Estimates({name: one.astype(np.float32) for name, one in found.items()})


def linear(probe: Pipeline) -> np.ndarray:
    """The weights and the constant (d + 1,) of a probe (speech2face.evaluation.probes), which is a linear function."""
    scaler, components, search = (step for _, step in probe.steps)
    model = search.best_estimator_
    direction = components.components_.T @ np.ravel(model.coef_)
    weights = direction / scaler.scale_
    constant = float(np.ravel(model.intercept_)[0]) - components.mean_ @ direction - scaler.mean_ @ weights
    return np.append(weights, constant)


def platt(odds: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """Slope and offset that turn odds (n,) into log odds of `positive` (n,) bool, with Platt's smoothed labels."""
    positives, negatives = positive.sum(), (~positive).sum()
    share = np.where(positive, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    scale = odds.std() or 1.0
    model = LogisticRegression(C=1e6)
    rows, labels = np.repeat(odds[:, None] / scale, 2, 0), np.tile([True, False], len(odds))
    model.fit(rows, labels, sample_weight=np.stack([share, 1 - share], 1).ravel())
    return float(model.coef_[0, 0] / scale), float(model.intercept_[0])


def metrics(estimates: Estimates, test: Heard) -> dict[str, float]:
    """How good estimates are for people who have taken no part; what is unknown is left out.

    sex: share that is right. sex_calibration_error: expected calibration error in ten bins (Guo et al., "On
    calibration of modern neural networks", ICML 2017). age_error: mean in years; age_constant_error: that of the
    median age. age_correlation. age_coverage: share of ages in their interval, which should be 0.9.
    """
    found = {}
    rows = test.of_known("sex")
    if "sex" in estimates.numbers and len(rows.sex):
        female = 1 / (1 + np.exp(-estimates.read("sex", rows.embeddings)))
        right = (female > 0.5) == (rows.sex == "female")
        found["sex"] = float(right.mean())
        found["sex_calibration_error"] = calibration_error(np.maximum(female, 1 - female), right)
    rows = test.of_known("age")
    if "age" in estimates.numbers and len(rows.age) > 2:
        age = estimates.read("age", rows.embeddings)
        low, high = estimates.numbers["age_errors"]
        found["age_error"] = float(np.abs(age - rows.age).mean())
        found["age_constant_error"] = float(np.abs(rows.age - np.median(rows.age)).mean())
        found["age_correlation"] = float(pearsonr(age, rows.age)[0])
        found["age_coverage"] = float(((rows.age >= age + low) & (rows.age <= age + high)).mean())
    return found


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error: the mean distance of confidence (n,) and share that is right, in ten equal bins."""
    return float(statistics.miscalibration(confidence, right)(np.ones((1, len(right))))[0])


def without_people(estimates: Estimates | None, material: "Material", probes: Collection[str]) -> dict[str, np.ndarray]:
    """Sex and age (n,) of the queries by the weights' estimates, if people.csv has them and no probe reads them."""
    found = {}
    for name in estimates.numbers.keys() & {"sex", "age"} - set(probes) if estimates else ():
        truth = material.traits((name,), material.people).get(name)
        read = np.concatenate([estimates.read(name, np.stack(batch)) for batch in batches(material.embeddings, 1024)])
        if name == "age" and truth is not None and truth.dtype.kind != "U":
            found[name] = np.maximum(read, 0)
        elif name == "sex" and truth is not None and set(truth.tolist()) <= {"female", "male", ""}:
            found[name] = np.where(read > 0, "female", "male")
    return dict(sorted(found.items(), reverse=True))
