"""Calibration of a prior: are the faces that it draws for a voice those that the voice leaves open?

If they are, an interval of nine in ten holds the truth nine times in ten, the truth has each rank among the samples
equally often, the samples of all voices are distributed as the population, and the energy score is as small as it can
be (Gneiting and Raftery, "Strictly proper scoring rules, prediction, and estimation", JASA 102, 2007).
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from tqdm import tqdm

from speech2face.evaluation import statistics
from speech2face.evaluation.metrics import Estimator, Metric, known_rows
from speech2face.evaluation.probes import predict
from speech2face.evaluation.statistics import Statistic
from speech2face.inference.decoder import Prior
from speech2face.priors.scores import energy_score

TOGETHER = 32  # voices whose samples are in memory at once
COVERAGES = (50, 90)
ERRORS = 16  # errors of a probe that are added to each sample
ALIKE = 1 / 20  # share of the people whose errors stand for those at a value that the probe expects


@dataclass
class Samples:
    """What a prior draws for n voices, `count` faces each.

    energy: (n,) energy scores against the true face. single: (n,) distance of the most typical face from the true one.
    rank: (n,) of the true face among its samples, 1 to count + 1, by its mean distance to the others (Gneiting et al.,
    TEST 17, 2008, section 3.1). read: by trait, what the probes expect of the samples: numbers (n, count), or
    probabilities of the classes (n, count, classes). first: (n, 4096) float32, the first sample of each voice.
    """

    energy: np.ndarray
    single: np.ndarray
    rank: np.ndarray
    read: dict[str, np.ndarray]
    first: np.ndarray
    count: int


def draw_samples(
    prior: Prior, voices: np.ndarray, faces: np.ndarray, probes: dict[str, Pipeline], count: int, seed: int
) -> Samples:
    """Draw samples for voices (n, 4096), and compare them with the true faces (n, 4096).

    The most typical face is the embedding of the voice itself, or the prior's mean where that is nearer to the truth.
    """
    device = prior.network.mean.device
    generator = torch.Generator(device).manual_seed(seed)
    found: list[tuple[np.ndarray, ...]] = []
    read: dict[str, list[np.ndarray]] = {name: [] for name in probes}
    for start in tqdm(range(0, len(voices), TOGETHER), "samples", delay=2):
        rows = slice(start, start + TOGETHER)
        voice, true = (torch.from_numpy(np.asarray(one[rows], np.float32)).to(device) for one in (voices, faces))
        drawn, _ = prior.network.sample(voice, count, [generator] * len(voice), **prior.how)
        mean, _ = prior.network.sample(voice, 1, [generator] * len(voice), **prior.how | {"truncation": 0.0})
        single = torch.minimum((mean[:, 0] - true).norm(dim=1), (voice - true).norm(dim=1))
        everything = torch.cat([true[:, None], drawn], 1)
        away = torch.cdist(everything, everything).sum(2)
        rank = 1 + (away[:, 1:] < away[:, :1]).sum(1)
        found.append(tuple(one.cpu().numpy() for one in (energy_score(drawn, true), single, rank, drawn[:, 0])))
        flat = drawn.flatten(0, 1).cpu().numpy()
        for name, probe in probes.items():
            values = expect(probe, flat)
            read[name].append(values.reshape(len(voice), count, *values.shape[1:]))
    energy, single, rank, first = (np.concatenate(one) for one in zip(*found, strict=True))
    return Samples(energy, single, rank, {name: np.concatenate(one) for name, one in read.items()}, first, count)


def expect(probe: Pipeline, embeddings: np.ndarray) -> np.ndarray:
    """What a probe expects: numbers (n,), or the probabilities of its classes (n, classes)."""
    return probe.predict_proba(embeddings) if hasattr(probe, "classes_") else predict(probe, embeddings)


def probe_errors(
    probe: Pipeline, embeddings: np.ndarray, values: np.ndarray, people: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What a probe of a number expects of people whom it has not learnt from, (n,), and its errors, (n,).

    This is a threefold cross-validation. embeddings: (n, 4096). values: (n,) finite. people: (n,) the person of each
    row.
    """
    fresh = make_pipeline(*(clone(part) for part in (probe[0], probe[1], probe[2].best_estimator_)))
    folds = list(GroupKFold(3).split(embeddings, values, people))
    fewest = min(len(learnt) for learnt, _ in folds)
    fresh[1].set_params(n_components=min(probe[1].n_components_, fewest))
    expected = cross_val_predict(fresh, embeddings, values, cv=folds)
    return expected, values - expected


def calibration(
    estimator: Estimator,
    samples: Samples,
    probes: dict[str, Pipeline],
    errors: dict[str, tuple[np.ndarray, np.ndarray]],
    truth: dict[str, np.ndarray],
    seen: dict[str, np.ndarray],
) -> dict[str, Metric]:
    """Metrics of n voices of different people.

    probes: by trait. errors: by trait with numbers, see probe_errors. truth: (n,) true values by trait, "" or NaN where
    unknown. seen: what the probes expect of the true faces.

    Ranks and probabilities of classes compare what a probe reads in the samples with what it reads in the true face, so
    that its errors do not matter. Coverage compares with the true value. It adds the probe's errors on faces of which
    it expects a like value, as if they did not depend on the voice, so that the intervals are a little too wide where
    voice and face tell different things.
    """
    found = {
        "calibration/energy": estimator(statistics.mean(samples.energy), float(samples.single.mean())),
        "calibration/energy_ratio": estimator(ratio(samples.energy, samples.single), 1.0),
        "calibration/face/ranks_p": p_value(even(samples.rank, samples.count + 1)),
    }
    for name, probe in probes.items():
        read = samples.read[name]
        if name in errors:
            known = np.flatnonzero(known_rows(truth[name]))
            own = estimator.of(known)
            for share, hits in covered(read[known], errors[name], truth[name][known], estimator.seed).items():
                found[f"calibration/{name}/coverage_{share}"] = own.share(hits, share / 100)
            rank = 1 + (read < seen[name][:, None]).sum(1)
            found[f"calibration/{name}/ranks_p"] = p_value(even(rank, read.shape[1] + 1))
            found[f"calibration/{name}/population_p"] = p_value(stats.ks_2samp(read[:, 0], seen[name]).pvalue)
        else:
            shown, own = np.eye(len(probe.classes_))[read.argmax(2)], seen[name].argmax(1)
            share = shown.mean(1)
            likely = share.argmax(1)
            found[f"calibration/{name}/error"] = estimator(statistics.miscalibration(share.max(1), likely == own), 0.0)
            counts = [shown[:, 0].sum(0), np.bincount(own, minlength=len(probe.classes_))]
            there = np.sum(counts, 0) > 0
            table = np.stack(counts)[:, there]
            found[f"calibration/{name}/population_p"] = p_value(
                stats.chi2_contingency(table).pvalue if there.sum() > 1 else 1.0
            )
    return found


def covered(
    read: np.ndarray, errors: tuple[np.ndarray, np.ndarray], truth: np.ndarray, seed: int
) -> dict[int, np.ndarray]:
    """Whether the central interval of each coverage in percent holds the truth (n,), as 0 or 1.

    read: (n, count) what a probe expects of the samples. errors: see probe_errors. The interval is that of the sums:
    the distribution of the value given the voice is that given the face, averaged over the faces. The errors are those
    at a like value, because nobody is younger or older than the population: a probe errs upwards for the young.
    """
    expected, wrong = (one[np.argsort(errors[0])] for one in errors)
    size = min(max(round(ALIKE * len(wrong)), ERRORS), len(wrong))
    first = np.clip(np.searchsorted(expected, read) - size // 2, 0, len(wrong) - size)
    drawn = np.random.default_rng(seed).integers(0, size, (*read.shape, ERRORS))
    values = (read[..., None] + wrong[first[..., None] + drawn]).reshape(len(read), -1)
    found = {}
    for share in COVERAGES:
        low, high = np.quantile(values, (0.5 - share / 200, 0.5 + share / 200), axis=1)
        found[share] = ((truth >= low) & (truth <= high)).astype(float)
    return found


def even(ranks: np.ndarray, count: int) -> float:
    """The p-value of the hypothesis that ranks (n,) from 1 to count are equally frequent: a chi-squared test.

    Ranks are put into at most eleven bins, and fewer so that five are expected in each.
    """
    bins = max(min(11, count, len(ranks) // 5), 1)
    edges = np.linspace(0, count, bins + 1).round()
    observed = np.histogram(ranks - 0.5, edges)[0]
    return float(stats.chisquare(observed, np.diff(edges) / count * len(ranks)).pvalue) if bins > 1 else np.nan


def ratio(upper: np.ndarray, lower: np.ndarray) -> Statistic:
    """The ratio of the means of two (n,) arrays."""
    return lambda weights: (weights @ upper) / (weights @ lower)


def p_value(value: float) -> Metric:
    """A p-value as a metric. It has no interval; its level of chance is 0.5."""
    return Metric(float(value), np.nan, np.nan, 0.5)
