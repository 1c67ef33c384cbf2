"""Test whether the faces that a prior draws are those that voices leave open."""

from typing import TYPE_CHECKING

import numpy as np
from sklearn.pipeline import Pipeline

from speech2face.evaluation.calibration import calibration, draw_samples, expect, probe_errors
from speech2face.evaluation.metrics import Estimator, Metric, known_rows
from speech2face.inference.decoder import Prior

if TYPE_CHECKING:
    from speech2face.evaluation.evaluation import Material


def examine(
    material: "Material",
    tested: np.ndarray,
    prior: Prior,
    probes: dict[str, Pipeline],
    estimator: Estimator,
    count: int,
) -> tuple[dict[str, Metric], np.ndarray]:
    """Metrics of a prior, and the first of `count` samples of each voice, (k, 4096).

    tested: (k,) numbers of queries, one per person, which `estimator` is for. probes: by trait, which learnt from the
    training people.
    """
    people = [material.people[row] for row in material.rows[tested]]
    faces = material.gallery[material.rows[tested]]
    samples = draw_samples(prior, material.embeddings[tested], faces, probes, count, estimator.seed)
    owners, errors = np.array(material.train), {}
    for name, values in material.traits(tuple(probes), material.train).items():
        if values.dtype.kind != "U":
            rows = known_rows(values)
            one = np.asarray(material.train_embeddings[np.flatnonzero(rows)], np.float32)
            errors[name] = probe_errors(probes[name], one, values[rows], owners[rows])
    seen = {name: expect(probe, faces) for name, probe in probes.items()}
    truth = material.traits(tuple(probes), people)
    return calibration(estimator, samples, probes, errors, truth, seen), samples.first
