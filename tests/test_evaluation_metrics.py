"""Every metric against an independent implementation, a closed form or a simulation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import r2_score, roc_curve, top_k_accuracy_score
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
from torchmetrics.functional.retrieval import retrieval_hit_rate

from speech2face.evaluation import images, observers, probes, retrieval, statistics, verification
from speech2face.evaluation.ratios import ratios

DISTANCES = ("cosine", "l1", "l2")


def brute_distances(queries: np.ndarray, gallery: np.ndarray, distance: str) -> np.ndarray:
    queries, gallery = queries.astype(np.float64)[:, None], gallery.astype(np.float64)[None]
    if distance == "l1":
        return np.abs(queries - gallery).sum(2)
    if distance == "l2":
        return np.sqrt(((queries - gallery) ** 2).sum(2))
    return 1 - (queries * gallery).sum(2) / np.linalg.norm(queries, axis=2) / np.linalg.norm(gallery, axis=2)


@pytest.fixture(scope="module")
def faces() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    gallery = generator.standard_normal((300, 256)).astype(np.float32) * generator.uniform(0.5, 2, (300, 1))
    truth = generator.integers(0, 300, 80)
    queries = 0.2 * gallery[truth] + generator.standard_normal((80, 256))
    return queries.astype(np.float32), gallery.astype(np.float32), truth


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("layout", ["plain", "collapsed", "float16"])
def test_ranks_are_those_of_a_full_sort(faces, distance, layout, tmp_path):
    queries, gallery, truth = faces
    if layout == "collapsed":  # embeddings whose differences float32 does not resolve in a product of two of them
        queries, gallery = 100 + 1e-2 * queries.astype(np.float64), 100 + 1e-2 * gallery.astype(np.float64)
    if layout == "float16":
        np.save(tmp_path / "gallery.npy", gallery.astype(np.float16))
        gallery = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    order = brute_distances(queries, gallery, distance).argsort(1)
    expected = 1 + (order == truth[:, None]).argmax(1)
    assert len(set(expected)) > 8
    for chunk in (2048, 37):
        assert np.array_equal(retrieval.ranks(queries, gallery, truth, distance, chunk=chunk), expected)
    assert np.array_equal(retrieval.top(queries, gallery, 9, distance, chunk=37), order[:, :9])
    assert np.array_equal(retrieval.top(queries, gallery, 300, distance), order)


def test_the_distances_differ(faces):
    first, second, third = (retrieval.ranks(*faces, distance) for distance in DISTANCES)
    assert (first != second).any() and (first != third).any() and (second != third).any()


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("value", [0.1, 0, -3])
def test_constant_embeddings_are_at_chance(distance, value):
    constant = np.full((600, 64), value, np.float32)
    ranks = retrieval.ranks(constant, constant, np.arange(600), distance, chunk=71)
    assert abs(ranks.mean() - 300.5) < 4 * 600 / np.sqrt(12 * 600)
    assert stats.kstest(ranks, "uniform", (0, 600)).pvalue > 0.001
    assert np.array_equal(ranks, retrieval.ranks(constant, constant, np.arange(600), distance, chunk=500))
    assert not np.array_equal(ranks, retrieval.ranks(constant, constant, np.arange(600), distance, seed=1))


@pytest.mark.parametrize("distance", DISTANCES)
def test_ties_cover_the_tied_places_and_no_others(faces, distance):
    _, gallery, _ = faces
    twins = np.concatenate([gallery[:50], gallery[:50], gallery[50:100]])  # twins in other chunks, other columns
    near = gallery[:50] * np.float32(1.001)
    ranks = np.stack([retrieval.ranks(near, twins, np.arange(50), distance, seed=s, chunk=41) for s in range(8)])
    assert set(ranks.ravel()) == {1, 2}
    assert abs((ranks == 1).mean() - 0.5) < 4 * 0.5 / np.sqrt(ranks.size)


def test_zeros_have_cosine_zero_with_every_face(faces):
    _, gallery, _ = faces
    ranks = retrieval.ranks(np.zeros_like(gallery), gallery, np.arange(300), chunk=41)
    assert stats.kstest(ranks, "uniform", (0, 300)).pvalue > 0.001


def test_integer_embeddings_tie_without_being_equal():
    queries, gallery = np.zeros((400, 3), np.float32), np.eye(3, dtype=np.float32)
    for distance in ("l1", "l2"):
        ranks = retrieval.ranks(queries, gallery, np.arange(400) % 3, distance)
        assert np.bincount(ranks, minlength=4)[1:].min() > 90


def test_retrieval_refuses_what_has_no_rank(faces):
    queries, gallery, truth = faces
    with pytest.raises(ValueError, match="finite"):
        retrieval.ranks(np.where(np.arange(256) == 3, np.nan, queries), gallery, truth)
    with pytest.raises(ValueError, match="no distance 'l3'"):
        retrieval.ranks(queries, gallery, truth, "l3")
    with pytest.raises(ValueError, match="equal width"):
        retrieval.ranks(queries[:, 1:], gallery, truth)
    with pytest.raises(ValueError, match="truth"):
        retrieval.ranks(queries, gallery, truth + 300)
    with pytest.raises(ValueError, match="301 of 300"):
        retrieval.top(queries, gallery, 301)
    with pytest.raises(ValueError, match="sampled size"):
        retrieval.recall(np.array([1, 2]), 1, 300, 301)


@pytest.mark.parametrize("k", [1, 5, 10])
def test_recall_is_that_of_torchmetrics_and_scikit_learn(faces, k):
    queries, gallery, truth = faces
    recall = retrieval.recall(retrieval.ranks(*faces, "l2"), k, 300).mean()
    closeness = -brute_distances(queries, gallery, "l2")
    relevant = np.arange(300) == truth[:, None]
    hits = [
        retrieval_hit_rate(torch.from_numpy(near), torch.from_numpy(true), top_k=k)
        for near, true in zip(closeness, relevant, strict=True)
    ]
    assert 0.02 < recall < 0.95
    assert recall == pytest.approx(float(np.mean(hits)))
    assert recall == pytest.approx(top_k_accuracy_score(truth, closeness, k=k, labels=np.arange(300)))


def test_sampled_galleries_agree_with_simulation():
    generator = np.random.default_rng(0)
    size, sampled, ranks = 200, 40, np.array([1, 2, 9, 30, 31, 77, 150, 200])
    draws = np.empty((4000, len(ranks)))
    for i in range(len(draws)):
        for j, rank in enumerate(ranks):
            others = generator.choice(size - 1, sampled - 1, replace=False) + 1
            draws[i, j] = 1 + (others + (others >= rank) < rank).sum()
    for k in (1, 3, 10):
        expected, found = (draws <= k).mean(0), retrieval.recall(ranks, k, size, sampled)
        assert np.all(np.abs(found - expected) < 4.5 * np.sqrt(found * (1 - found) / len(draws)) + 1e-12)


@pytest.mark.parametrize("sampled", [1, 2, 25, 100, 299, 300, None])
def test_sampled_chance(sampled):
    every, size = np.arange(1, 301), sampled or 300
    for k in (1, 5):
        assert retrieval.recall(every, k, 300, sampled).mean() == pytest.approx(min(1, k / size))


def test_sampled_recall_is_the_hypergeometric_distribution():
    # where only ranks near the expected one are worked out, the sum is still the distribution
    direct = stats.hypergeom.cdf(4, 9999, np.arange(0, 10_000, 7), 499)
    assert np.allclose(retrieval.recall(np.arange(1, 10_001, 7), 5, 10_000, 500), direct, atol=1e-12)


def test_bootstrap_of_a_mean_is_the_closed_form_and_scipys():
    values = np.random.default_rng(0).normal(3, 2, 500)
    estimate = statistics.bootstrap(statistics.mean(values), np.arange(500), samples=4000)
    error = values.std() / np.sqrt(500)
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert estimate.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=4000, rng=1).confidence_interval
    assert (estimate.low, estimate.high) == pytest.approx((theirs.low, theirs.high), abs=0.15 * error)


def test_bootstrap_covers_and_resamples_people():
    generator, covered, naive = np.random.default_rng(0), [], []
    people = np.repeat(np.arange(60), 8).astype(str)
    for seed in range(300):
        values = np.repeat(generator.normal(0, 1, 60), 8) + 0.3 * generator.normal(0, 1, 480)
        for interval, units in ((covered, people), (naive, np.arange(480))):
            estimate = statistics.bootstrap(statistics.mean(values), units, samples=400, seed=seed)
            interval.append(estimate.low <= 0 <= estimate.high)
    assert 0.90 < np.mean(covered) < 0.985
    assert np.mean(naive) < 0.7


STATISTICS = {
    "mean": (lambda t, p: statistics.mean(p), lambda t, p: p.mean()),
    "median": (lambda t, p: statistics.median(p), lambda t, p: np.median(p)),
    "correlation": (statistics.correlation, lambda t, p: stats.pearsonr(t, p).statistic),
}


@pytest.mark.parametrize("name", STATISTICS)
def test_weighted_statistics_are_those_of_the_repeated_rows(name):
    generator = np.random.default_rng(0)
    truth = generator.normal(1e4, 1, 200) - 1e4
    predicted = truth + generator.normal(0, 1, 200)
    weights = generator.integers(0, 4, (20, 200)).astype(np.float64)
    make, independent = STATISTICS[name]
    expected = [independent(np.repeat(truth, w.astype(int)), np.repeat(predicted, w.astype(int))) for w in weights]
    assert make(truth, predicted)(weights) == pytest.approx(expected)
    assert np.std(expected) > 0


def test_undefined_correlations_are_not_numbers():
    people, varied = np.arange(50), np.random.default_rng(0).normal(size=50)
    rounding = np.float32(208) + np.spacing(np.float32(208)) * (varied > 0)
    assert np.isnan(statistics.bootstrap(statistics.correlation(rounding, varied), people).value)
    estimate = statistics.bootstrap(statistics.correlation(np.full(50, 0.1), varied), people)
    assert np.isnan([estimate.value, estimate.low, estimate.high]).all()
    one_differs = np.where(people == 0, 0.2, 0.1)  # a third of the resamples lack that person
    estimate = statistics.bootstrap(statistics.correlation(one_differs, varied), people)
    assert -1 <= estimate.low <= estimate.value <= estimate.high <= 1
    with pytest.raises(ValueError, match="no rows"):
        statistics.bootstrap(statistics.mean(varied[:0]), people[:0])


def test_permuted_level_is_chance_and_keeps_people_together():
    people = np.repeat(np.arange(40), np.random.default_rng(0).integers(1, 9, 40))
    sex = (np.arange(40) % 4 == 0)[people]

    def accuracy(rows: np.ndarray) -> float:
        meet = people[rows]
        for person in range(40):  # all clips of a person meet those of one other
            assert len(set(meet[people == person])) == 1
        return float((sex[rows] == sex).mean())

    assert accuracy(np.arange(len(people))) == 1
    share = sex.mean()
    chance = 0.25 * share + 0.75 * (1 - share)
    assert np.mean([accuracy(rows) for rows in statistics.permutations(people, 400)]) == pytest.approx(chance, abs=0.02)
    for rows in statistics.permutations(np.repeat([0, 1], 5), 20):
        assert len(set(rows)) == 10  # the clips of a person meet the other's in turn, each once


@pytest.mark.parametrize("scatter", [0.3, 1.0, 3.0])
def test_equal_error_rate_is_that_of_all_pairs(scatter):
    generator = np.random.default_rng(0)
    people = np.repeat(np.arange(40), generator.integers(1, 5, 40))
    embeddings = generator.normal(size=(40, 16))[people] + scatter * generator.normal(size=(len(people), 16))
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    left, right = np.triu_indices(len(people), 1)
    false, true, _ = roc_curve(people[left] == people[right], (unit @ unit.T)[left, right], drop_intermediate=False)
    expected = np.interp(0, false + true - 1, false)
    statistic = verification.error_rate(embeddings, people)
    assert statistic(np.ones((1, len(people))))[0] == pytest.approx(expected, abs=1e-6)
    assert statistic(np.full((1, len(people)), 2.0))[0] == pytest.approx(expected, abs=1e-6)
    without = (people != people.max())[None].astype(float)  # a resample that lacks one person
    others = verification.error_rate(embeddings[without[0] > 0], people[without[0] > 0])
    assert statistic(without)[0] == pytest.approx(others(np.ones((1, int(without.sum()))))[0], abs=1e-9)
    sampled = verification.error_rate(embeddings, people, max_impostors=1000, seed=3)
    assert sampled(np.ones((1, len(people))))[0] == pytest.approx(expected, abs=0.05)


def test_equal_error_rate_at_the_ends():
    people = np.repeat(["a", "b", "c"], 3)
    alike = np.repeat(np.eye(3), 3, axis=0)
    assert verification.error_rate(alike, people)(np.ones((1, 9)))[0] == 0
    assert verification.error_rate(np.ones((9, 3)), people)(np.ones((1, 9)))[0] == 0.5
    with pytest.raises(ValueError, match="two clips"):
        verification.error_rate(alike, np.arange(9))
    with pytest.raises(ValueError, match="two people"):
        verification.error_rate(alike, np.zeros(9))


def test_wilson_interval_covers_rare_hits():
    generator = np.random.default_rng(0)
    for share in (0.002, 0.05, 0.5):
        bounds = [statistics.wilson(generator.binomial(500, share) / 500, 500) for _ in range(2000)]
        assert np.mean([low <= share <= high for low, high in bounds]) > 0.92
    assert statistics.wilson(0.0, 500)[0] == 0 and statistics.wilson(1.0, 500)[1] == pytest.approx(1)


def test_image_metrics_are_those_of_torchmetrics():
    generator = np.random.default_rng(0)
    a = np.kron(generator.integers(0, 256, (12, 5, 6, 3)), np.ones((1, 6, 6, 1))).astype(np.uint8)
    b = np.clip(a + generator.normal(0, 1, a.shape) * np.geomspace(1, 80, 12)[:, None, None, None], 0, 255)
    b = b.astype(np.uint8)
    b[-1] = 128  # flat, where the variance is a difference of equal numbers
    similar, signal = images.ssim(a, b), images.psnr(a, b)
    x, y = (torch.from_numpy(image.astype(np.float64)).permute(0, 3, 1, 2) for image in (a, b))
    _, local = structural_similarity_index_measure(
        x, y, sigma=1.5, data_range=255.0, reduction="none", return_full_image=True
    )
    assert similar == pytest.approx(local[..., 5:-5, 5:-5].mean((1, 2, 3)).numpy(), abs=1e-3)  # less its made-up border
    expected = peak_signal_noise_ratio(x, y, data_range=255.0, reduction="none", dim=(1, 2, 3))
    assert signal == pytest.approx(expected.numpy(), rel=1e-6)
    assert np.ptp(similar) > 0.3
    assert images.ssim(a[:2], a[:2]) == pytest.approx([1, 1]) and np.isinf(images.psnr(a[:2], a[:2])).all()
    with pytest.raises(ValueError, match="uint8"):
        images.ssim(a / 255, b / 255)


def test_landmark_error_is_the_mean_distance():
    a = np.random.default_rng(0).normal(size=(4, 72, 2))
    assert images.landmark_error(a, a + np.array([3, 4])) == pytest.approx([5] * 4)
    b = a.copy()
    b[2, :36] += [0, 7]
    assert images.landmark_error(a, b) == pytest.approx([0, 0, 3.5, 0])
    with pytest.raises(ValueError, match="one shape"):
        images.landmark_error(a, b[:1])


MEAN_FACE = {  # a face by hand, in pixels; the corners of the mouth are repeated as in LANDMARK_PARTS
    "chin": [(10 * i, 200 - 2 * (i - 8) ** 2) for i in range(17)],
    "left_brow": [(30 + 10 * i, 60) for i in range(5)],
    "right_brow": [(90 + 10 * i, 60) for i in range(5)],
    "nose_bridge": [(80, 80 + 10 * i) for i in range(4)],
    "nose_tip": [(64, 120), (72, 124), (80, 128), (88, 124), (96, 120)],
    "left_eye": [(40, 80), (46, 76), (54, 76), (60, 80), (54, 84), (46, 84)],
    "right_eye": [(100, 80), (106, 76), (114, 76), (120, 80), (114, 84), (106, 84)],
    "top_lip": [
        *[(50, 150), (60, 146), (70, 142), (80, 144), (90, 142), (100, 146), (110, 150)],
        *[(100, 150), (90, 150), (80, 150), (70, 150), (60, 150)],
    ],
    "bottom_lip": [
        *[(110, 150), (100, 158), (90, 162), (80, 162), (70, 162), (60, 158), (50, 150)],
        *[(60, 150), (70, 154), (80, 154), (90, 154), (100, 150)],
    ],
}


def test_ratios_of_a_face_measured_by_hand():
    face = np.array([point for part in MEAN_FACE.values() for point in part], np.float64)[None]
    # the eyes' centres are 60 pixels apart
    lips = 10 * (4 + 8 + 6 + 8 + 4) + 10 * (8 + 12 + 12 + 12 + 8)
    nose = 32 * 48 / 2
    expected = {
        "upper_lip_height": 22 / 60,
        "lateral_upper_lip_heights": np.hypot(6, 22) / 60,
        "jaw_width": 80 / 60,
        "nose_height": 48 / 60,
        "nose_width": 32 / 60,
        "labio_oral_region": lips / 3600,
        "mandibular_index": 48 / 80,
        "intercanthal_index": 40 / 80,
        "nasal_index": 32 / 48,
        "vermilion_height_index": 6 / 8,
        "mouth_face_width_index": 60 / 160,
        "nose_area": nose / 3600,
    }
    found = ratios(face)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx([value]), name


@settings(max_examples=30, deadline=None)
@given(
    st.floats(0.05, 20), st.floats(-np.pi, np.pi), st.floats(-500, 500), st.floats(-500, 500), st.integers(0, 2**32 - 1)
)
def test_ratios_do_not_see_shift_scale_and_rotation(scale, angle, x, y, seed):
    face = np.array([point for part in MEAN_FACE.values() for point in part], np.float64)
    faces = face + np.random.default_rng(seed).normal(0, 1.5, (3, 72, 2))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    moved, still = ratios(scale * faces @ turn + [x, y]), ratios(faces)
    for name, values in still.items():
        assert values.shape == (3,) and np.ptp(values) > 0
        assert moved[name] == pytest.approx(values, rel=1e-6), name


def test_ratios_refuse_another_shape():
    with pytest.raises(ValueError, match="72"):
        ratios(np.zeros((2, 68, 2)))


@pytest.fixture(scope="module")
def people() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings of 1200 people whose mean sex and age shift by known vectors; columns 0 and 1 are constant."""
    generator = np.random.default_rng(0)
    sex, age = generator.integers(0, 2, 1200), generator.normal(40, 10, 1200)
    directions = generator.standard_normal((2, 300))
    embeddings = np.outer(sex, directions[0]) * 0.2 + np.outer((age - 40) / 10, directions[1]) * 0.1
    embeddings += generator.standard_normal((1200, 300))
    embeddings[:, :2] = (0, 7)
    return embeddings.astype(np.float16), np.where(sex, "female", "male"), age


@pytest.mark.parametrize(("trained", "share"), [(60, 0.6), (1000, 0.93)])
def test_probes_find_what_the_embeddings_hold(people, trained, share):
    embeddings, sex, age = people
    seen, unseen = slice(0, trained), slice(1000, 1200)
    classifier = probes.fit_classifier(embeddings[seen], sex[seen])
    guessed = probes.predict(classifier, embeddings[unseen], chunk=37)
    assert np.array_equal(guessed, probes.predict(classifier, embeddings[unseen]))
    # two gaussians 0.2 |direction| = 3.4 deviations apart: the best rule is right in Phi(1.7) = 95.5% of cases
    assert (guessed == sex[unseen]).mean() > share
    regressor = probes.fit_regressor(embeddings[seen], age[seen])
    # the best linear rule explains 1 - 1 / (1 + 0.1^2 * 300) = 75% of the variance
    found = r2_score(age[unseen], probes.predict(regressor, embeddings[unseen]))
    assert (0.1 if trained == 60 else 0.6) < found < 0.85
    chance = probes.fit_classifier(embeddings[seen], sex[::-1][seen])
    assert (probes.predict(chance, embeddings[unseen]) == sex[unseen]).mean() < 0.65


def test_probes_refuse_what_they_cannot_learn(people):
    embeddings, sex, age = people
    with pytest.raises(ValueError, match="two classes"):
        probes.fit_classifier(embeddings[:50], np.full(50, "male"))
    with pytest.raises(ValueError, match="finite"):
        probes.fit_regressor(embeddings[:50], np.where(np.arange(50) < 2, np.nan, age[:50]))
    with pytest.raises(ValueError, match="finite"):
        probes.fit_classifier(np.full((50, 3), np.inf), sex[:50])
    with pytest.raises(ValueError, match="as many"):
        probes.fit_regressor(embeddings[:50], age)
    with pytest.raises(ValueError, match="ten people"):
        observers.ideal_observer(embeddings[:5], embeddings[:5])


def hidden_sex(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Voice parameters and embeddings of n people, both dependent on a hidden binary cause.

    Also the conditional mean of the embeddings, given the parameters.
    """
    directions = np.random.default_rng(99).standard_normal((7, 500))
    generator = np.random.default_rng(seed)
    sex, language, height = generator.integers(0, 2, n), generator.integers(0, 4, n), generator.normal(0, 1, n)
    voice = np.stack([1.2 * sex + generator.normal(0, 0.6, n), generator.normal(0, 1 + sex), height], axis=1)
    odds = stats.norm.pdf(voice[:, 0], 1.2, 0.6) * stats.norm.pdf(voice[:, 1], 0, 2)
    odds /= stats.norm.pdf(voice[:, 0], 0, 0.6) * stats.norm.pdf(voice[:, 1], 0, 1)
    known = np.column_stack([np.tanh(2 * height), height**2, np.eye(4)[language]])
    parameters = np.concatenate([voice, generator.normal(0, 1, (n, 3)), np.eye(4)[language]], axis=1)
    cause = np.column_stack([2 * sex, known]) @ directions
    mean = np.column_stack([2 * odds / (1 + odds), known]) @ directions
    return parameters, (cause + generator.normal(0, 2, (n, 500))).astype(np.float32), mean


@pytest.mark.parametrize(("n", "share"), [(100, 0.55), (600, 0.85)])
def test_ideal_observer_is_near_the_conditional_mean(n, share):
    parameters, embeddings, _ = hidden_sex(n, 0)
    unseen, truth, mean = hidden_sex(1000, 1)
    observer = observers.ideal_observer(parameters, embeddings)
    reached = r2_score(truth, observer.predict(unseen), multioutput="variance_weighted")
    best = r2_score(truth, mean, multioutput="variance_weighted")
    assert share * best < reached < 1.01 * best
    shuffled = observers.ideal_observer(parameters, embeddings[::-1])
    assert r2_score(truth, shuffled.predict(unseen), multioutput="variance_weighted") < 0.05 * best
