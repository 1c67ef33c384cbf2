"""Calibration of a prior: exact samplers pass, others do not; and what is measured on drawn faces."""

import numpy as np
import pytest
import torch
from scipy import stats
from torchmetrics.functional.classification import binary_calibration_error

from speech2face.errors import UserError
from speech2face.evaluation import statistics
from speech2face.evaluation.calibration import calibration, covered, draw_samples, even, expect, probe_errors
from speech2face.evaluation.metrics import Estimator, Metric
from speech2face.evaluation.probes import fit_classifier, fit_regressor
from speech2face.evaluation.realism import deviation, frechet, precision_recall, realism, sharpness
from speech2face.inference.decoder import Prior
from speech2face.priors.flow import FlowPrior
from speech2face.talkers.decoder import NUMBERS, TalkerDecoder, named
from speech2face.talkers.population import portraits

WIDTH = 12


def world(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Voices on a line, and faces whose mean depends on the voice; an age, a sex and a colour that faces show."""
    random, fixed = np.random.default_rng(seed), np.random.default_rng(100)
    effect, mixing = fixed.normal(size=WIDTH), fixed.normal(size=(WIDTH, WIDTH)) / 3
    voice = random.normal(size=(count, 1))
    faces = voice * effect + random.normal(size=(count, WIDTH)) @ mixing.T
    age = 45 + 6 * faces[:, 0] + 2 * random.normal(size=count)
    traits = {"age": age, "sex": np.where(faces[:, 1] + 0.3 * random.normal(size=count) > 0, "female", "male")}
    return np.pad(voice, ((0, 0), (0, WIDTH - 1))).astype(np.float32), faces.astype(np.float32), traits


@pytest.fixture(scope="module")
def measured() -> dict[float, dict[str, Metric]]:
    """The metrics of a prior that knows the distribution, by its truncation."""
    voices, faces, traits = world(1500, 0)
    prior = FlowPrior(components=WIDTH, conditions=1, width=16, embedding=WIDTH)
    prior.fit(voices, faces)
    people = np.arange(len(faces))
    probes = {"age": fit_regressor(faces, traits["age"]), "sex": fit_classifier(faces, traits["sex"])}
    errors = {"age": probe_errors(probes["age"], faces, traits["age"], people)}
    voices, faces, truth = world(800, 1)
    seen = {name: expect(probe, faces) for name, probe in probes.items()}
    found = {}
    for truncation in (1.0, 0.4):
        samples = draw_samples(Prior(prior, truncation=truncation), voices, faces, probes, 32, 0)
        found[truncation] = calibration(Estimator(np.arange(800), 200), samples, probes, errors, truth, seen)
    return found


def test_an_exact_sampler_is_calibrated(measured) -> None:
    own = {name.removeprefix("calibration/"): metric for name, metric in measured[1.0].items()}
    assert own["age/coverage_90"].value == pytest.approx(0.9, abs=0.035)
    assert own["age/coverage_50"].value == pytest.approx(0.5, abs=0.06)
    assert own["sex/error"].value < 0.05
    for name in ("face/ranks_p", "age/ranks_p", "age/population_p", "sex/population_p"):
        assert own[name].value > 0.01
    assert own["energy_ratio"].low < own["energy_ratio"].value < own["energy_ratio"].high < 0.8


def test_a_sampler_that_is_too_sure_is_found_out(measured) -> None:
    exact, sure = measured[1.0], measured[0.4]
    assert sure["calibration/age/coverage_90"].value < 0.8
    assert sure["calibration/face/ranks_p"].value < 1e-6 and sure["calibration/age/ranks_p"].value < 1e-6
    assert sure["calibration/energy"].value > exact["calibration/energy"].value


def test_an_interval_knows_that_nobody_is_older_than_the_population() -> None:
    """If the voice says nothing, nine ages of ten lie in the interval, although a probe errs upwards for the young."""
    random = np.random.default_rng(0)
    ages = random.uniform(18, 80, (2, 4000))
    expected = 49 + 0.7 * (ages - 49) + random.normal(0, 6, ages.shape)
    read = random.choice(expected[1], (1000, 32))
    hits = covered(read, (expected[0], ages[0] - expected[0]), random.uniform(18, 80, 1000), 0)
    assert hits[90].mean() == pytest.approx(0.9, abs=0.03) and hits[50].mean() == pytest.approx(0.5, abs=0.05)


def test_ranks_are_even_or_not() -> None:
    random = np.random.default_rng(0)
    values = [even(random.integers(1, 34, 500), 33) for _ in range(200)]
    assert stats.kstest(values, "uniform").pvalue > 0.01
    assert even(np.minimum(random.integers(1, 40, 500), 33), 33) < 1e-6


def test_the_calibration_error_of_a_resample_is_torchmetrics_of_the_repeated_rows() -> None:
    random = np.random.default_rng(0)
    sure = random.uniform(0.5, 1, 300)
    right = random.random(300) < sure**2
    for counts in (np.ones(300, int), random.integers(0, 4, 300)):
        found = statistics.miscalibration(sure, right)(counts[None].astype(float))[0]
        rows = (torch.from_numpy(np.repeat(one, counts)) for one in (sure, right.astype(int)))
        assert found == pytest.approx(binary_calibration_error(*rows, n_bins=10).item(), abs=1e-6)


def test_frechet_distance_of_normal_distributions() -> None:
    """Of N(m, a^2) and N(0, b^2), independent directions, it is m^2 + (a - b)^2 (Dowson and Landau 1982)."""
    random = np.random.default_rng(0)
    a, b = random.normal(size=(20_000, 3)) * (1, 2, 3) + (1, 0, 0), random.normal(size=(20_000, 3))
    assert frechet(a, b) == pytest.approx(1 + 0 + 1 + 4, rel=0.03)
    assert frechet(a, a) == pytest.approx(0, abs=1e-6)


def test_precision_is_lost_outside_and_recall_by_repetition() -> None:
    random = np.random.default_rng(0)
    real = random.normal(size=(300, 2))
    assert min(precision_recall(random.normal(size=(300, 2)), real)) > 0.85
    precision, recall = precision_recall(random.normal(size=(300, 2)) * 0.1, real)
    assert precision > 0.95 and recall < 0.2
    precision, recall = precision_recall(random.normal(size=(300, 2)) * 5, real)
    assert precision < 0.5 and recall > 0.8


def test_sharpness_and_diversity_of_pictures() -> None:
    random = np.random.default_rng(0)
    sharp = random.integers(0, 256, (40, 64, 64, 1)).repeat(3, 3).astype(np.uint8)
    flat = np.full_like(sharp, 90)
    assert sharpness(flat) == pytest.approx(0)
    # the Laplacian of independent pixels has 1 + 1 + 1 + 1 + 16 times their variance
    assert sharpness(sharp).mean() == pytest.approx(20 * (256**2 - 1) / 12, rel=0.05)
    assert deviation(sharp)(np.ones((1, 40)))[0] == pytest.approx(sharp[:, ::4, ::4, 0].std(0).mean(), rel=1e-6)
    found = realism(Estimator(np.arange(40), 50), sharp, sharp)
    assert all(metric.value == pytest.approx(1) for metric in found.values())


def test_the_decoder_of_talkers_draws_the_people_that_it_has_learnt() -> None:
    """Embeddings that hold the parameters of a face give its portrait."""
    from speech2face.decoders.base import Examples
    from speech2face.talkers.decoder import targets

    names = [f"talker-0-{index:06d}" for index in range(300)]
    people = [named(name) for name in names]
    embeddings = np.array([targets(one.face) for one in people], np.float32)
    decoder = TalkerDecoder(embedding=embeddings.shape[1], ridge=1e-6)
    decoder.fit(Examples(embeddings, np.arange(300), None, None, None, names))
    landmarks, images = decoder(torch.from_numpy(embeddings[:3]))
    truth, points = portraits(people[:3], None)
    assert (landmarks - points).abs().max() < 0.1
    apart = (images * 255 - truth.float()).abs().mean((1, 2, 3))  # strands of hair are not the person's own
    others = (images * 255 - truth.roll(1, 0).float()).abs().mean((1, 2, 3))
    assert (apart < 0.4 * others).all()
    _, wild = decoder(torch.randn(2, embeddings.shape[1], generator=torch.Generator().manual_seed(0)) * 100)
    assert wild.isfinite().all() and len(NUMBERS) < embeddings.shape[1]
    with pytest.raises(UserError, match=r"learns from simulated people only .* and not from anna"):
        named("anna")
