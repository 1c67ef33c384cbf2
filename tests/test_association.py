"""Association of voices and faces against scikit-learn, full enumeration, and what must be at chance."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from speech2face.data.dataset import Dataset
from speech2face.data.trials import Trial, read_trials
from speech2face.errors import UserError
from speech2face.evaluation import association
from speech2face.evaluation.association import associate, cosine_matrix, count, match, random_precision, verify
from speech2face.evaluation.averaging import averaged
from speech2face.evaluation.evaluation import Material
from speech2face.evaluation.metrics import Estimator
from speech2face.evaluation.verification import Trials

PEOPLE = 14
NAMES = np.array([f"p{i}" for i in range(PEOPLE)])
OWNER = np.repeat(np.arange(PEOPLE), [1, 3, 2, 2, 1, 4, 1, 2, 3, 1, 2, 2, 1, 3])
SEX = np.array(["female", "male"] * 7)
AGE = np.array([23, 27, 31, 38, 33, np.nan, 29, 21, 34, 45, 41, 47, 68, 22.0])


@pytest.fixture(scope="module", params=["distinct", "tied"])
def embedded(request) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of recordings and photos; tied: of few values, so that many cosines are equal."""
    generator = np.random.default_rng(0)
    faces = generator.standard_normal((PEOPLE, 3))
    voices = faces[OWNER] + 1.5 * generator.standard_normal((len(OWNER), 3))
    if request.param == "tied":
        return np.sign(voices[:, :2]), np.sign(faces[:, :2])
    return voices, faces


def groups_of(name: str) -> list[np.ndarray]:
    """People of each group, by hand."""
    if name == "all":
        return [np.arange(PEOPLE)]
    if name == "same_sex":
        return [np.flatnonzero(sex == SEX) for sex in ("female", "male")]
    return [np.flatnonzero((decade <= AGE) & (decade + 10 > AGE)) for decade in (20, 30, 40)]  # one is alone at 60


def score(voices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(voices, axis=1)[:, None] * np.linalg.norm(faces, axis=1)
    return np.round(voices @ faces.T / lengths, 9)


@pytest.mark.parametrize("group", ["all", "same_sex", "same_age"])
def test_metrics_are_those_of_scikit_learn_and_of_all_draws(embedded, group):
    """AP and AUC by scikit-learn; matching by every draw of negatives."""
    voices, faces = embedded
    found = associate(voices, faces, OWNER, NAMES, {"sex": SEX, "age": AGE}, samples=20)
    scores = score(voices, faces)
    precision, hits, trials = ([], []), ([], []), []
    for people in groups_of(group):
        recordings = np.flatnonzero(np.isin(OWNER, people))
        for i in recordings:
            others = [scores[i, j] for j in people if j != OWNER[i]]
            precision[0].append(average_precision_score(people == OWNER[i], scores[i, people]))
            hits[0].append(chosen(scores[i, OWNER[i]], others, 2))
            trials += [(scores[i, j], OWNER[i] == j, 1 if OWNER[i] == j else 1 / len(others)) for j in people]
        for j in people:
            heard = scores[recordings, j]
            precision[1].append(average_precision_score(OWNER[recordings] == j, heard))
            others = [scores[i, j] for i in recordings if OWNER[i] != j]
            hits[1].append(np.mean([chosen(scores[i, j], others, 2) for i in recordings if OWNER[i] == j]))
    for direction, task in enumerate(("voice_to_face", "face_to_voice")):
        assert found[f"association/{task}/{group}/mAP"].value == pytest.approx(np.mean(precision[direction]))
        assert found[f"association/{task}/{group}/1:2"].value == pytest.approx(np.mean(hits[direction]))
    values, same, share = map(np.array, zip(*trials, strict=True))
    area = found[f"association/verification/{group}/auc"]
    assert area.value == pytest.approx(roc_auc_score(same, values, sample_weight=share)) and area.low < area.high
    accepted, right, _ = roc_curve(same, values, sample_weight=share, drop_intermediate=False)
    rate = found[f"association/verification/{group}/equal_error_rate"].value
    assert rate == pytest.approx(crossing(accepted, 1 - right), abs=1e-4)


def chosen(true: float, others: list[float], size: int) -> float:
    """Probability of choosing the true one, over all draws of size - 1 others."""
    shares = []
    for drawn in itertools.combinations(others, size - 1):
        best = max(drawn)
        shares.append(0.0 if best > true else 1 / (1 + sum(one == true for one in drawn)))
    return float(np.mean(shares))


def crossing(accepted: np.ndarray, refused: np.ndarray) -> float:
    fine = np.linspace(0, len(accepted) - 1, 200_001)
    a, r = (np.interp(fine, np.arange(len(accepted)), one) for one in (accepted, refused))
    best = np.argmin(np.abs(a - r))
    return (a[best] + r[best]) / 2


@pytest.mark.parametrize("size", [2, 3, 5, 10])
def test_matching_is_the_mean_over_all_draws(size):
    generator = np.random.default_rng(size)
    for others in (generator.integers(0, 4, 11).astype(float), generator.standard_normal(11), np.zeros(11)):
        nearer, tied = (others > 1).sum(), (others == 1).sum()
        value = association.matched(np.array([nearer]), np.array([tied]), np.array([11]), size)[0]
        assert value == pytest.approx(chosen(1.0, list(others), size))
    assert np.isnan(association.matched(np.array([0]), np.array([0]), np.array([3]), 5)[0])


def test_what_tells_only_the_sex_is_at_chance_within_one_sex():
    generator = np.random.default_rng(1)
    people, owner = 200, np.repeat(np.arange(200), 2)
    sex = np.array(["female", "male"])[generator.integers(0, 2, people)]
    told = np.stack([sex == "female", sex == "male"], 1).astype(float)
    names = np.arange(people).astype(str)
    found = {name: row.value for name, row in associate(told[owner], told, owner, names, {"sex": sex}, 20).items()}
    for task in ("voice_to_face", "face_to_voice"):
        assert found[f"association/{task}/same_sex/1:2"] == pytest.approx(0.5)
        assert found[f"association/{task}/same_sex/1:10"] == pytest.approx(0.1)
        assert found[f"association/{task}/all/1:2"] == pytest.approx(0.75, abs=0.02)
    assert found["association/verification/same_sex/auc"] == pytest.approx(0.5)
    assert found["association/verification/same_sex/equal_error_rate"] == pytest.approx(0.5)
    assert found["association/verification/all/auc"] > 0.7
    noisy = [told[rows] + 0.3 * generator.standard_normal((len(rows), 2)) for rows in (owner, np.arange(people))]
    rows = associate(*noisy, owner, names, {"sex": sex}, 200)
    within = {name: row for name, row in rows.items() if "/same_sex/" in name}
    missed = [name for name, row in within.items() if not row.low <= row.chance <= row.high]
    assert len(within) == 8 and len(missed) <= 1, missed
    assert all(row.low > row.chance for name, row in rows.items() if "/all/" in name and "error" not in name)


def test_a_monotone_transform_of_the_scores_changes_nothing(embedded):
    voices, faces = embedded
    estimator, scores, codes = Estimator(NAMES, 20), cosine_matrix(voices, faces), np.arange(PEOPLE) % 2

    def metrics(scores: np.ndarray) -> dict:
        found = count(scores, OWNER, codes, 0)
        return verify(estimator, scores, OWNER, found, "verification") | match(estimator, OWNER, found, "same_sex")

    assert metrics(scores) == metrics(np.exp(3 * scores) - 7)
    assert metrics(scores) != metrics(-scores)


def test_embeddings_without_information_are_at_chance():
    """Constant ones exactly, and random ones within their intervals."""
    owner, names = np.repeat(np.arange(60), 2), np.arange(60).astype(str)
    generator = np.random.default_rng(3)
    constant = np.tile(generator.standard_normal(40).astype(np.float32), (120, 1))
    for name, row in associate(constant, constant[:60], owner, names, {}, 20).items():
        if "mAP" not in name:  # scikit-learn takes all tied ones together
            assert row.value == pytest.approx(row.chance), name
    random = generator.standard_normal((120, 40)), generator.standard_normal((60, 40))
    rows = associate(*random, owner, names, {}, 300)
    assert len(rows) == 8 and sum(not row.low <= row.chance <= row.high for row in rows.values()) <= 1


def test_expected_precision_of_a_random_order():
    for relevant, others in ((1, 1), (1, 5), (3, 3), (2, 5)):
        size = relevant + others
        orders = [
            average_precision_score(np.isin(np.arange(size), own), -np.arange(size))
            for own in itertools.combinations(range(size), relevant)
        ]
        assert random_precision(np.array([relevant]), np.array([others]))[0] == pytest.approx(np.mean(orders))


def test_of_many_people_a_thousand_are_drawn_by_the_seed():
    generator = np.random.default_rng(4)
    faces, owner = generator.standard_normal((1300, 4)), np.repeat(np.arange(0, 1300), 5)
    kept, photos = association.drawn(owner, 0)
    assert len(photos) == 1000 and np.array_equal(np.unique(owner[kept], return_counts=True)[1], np.full(1000, 3))
    assert not np.array_equal(photos, association.drawn(owner, 1)[1])
    first, again, other = (
        associate(faces[owner] + 1, faces, owner, np.arange(1300).astype(str), {}, 20, seed) for seed in (0, 0, 1)
    )
    assert first == again and first != other


def test_one_person_and_a_column_that_all_share_have_no_trials():
    voices, faces = np.ones((3, 2)), np.ones((1, 2))
    assert associate(voices, faces, np.zeros(3, int), NAMES[:1], {}) == {}
    found = associate(voices, np.ones((2, 2)), np.array([0, 0, 1]), NAMES[:2], {"sex": np.array(["male", "male"])}, 20)
    assert {name.split("/")[2] for name in found} == {"all"} and not any("1:10" in name for name in found)


def test_trials_of_unknown_people_are_resampled_themselves():
    scores, same = np.array([0.9, 0.4, 0.5, 0.1]), np.array([True, True, False, False])
    trials, weights = Trials(scores, same, np.arange(4), None), np.array([[1.0, 1, 1, 1], [1, 3, 2, 0], [1, 1, 0, 0]])
    found = trials.auc(weights)
    assert found[0] == pytest.approx(roc_auc_score(same, scores)) and np.isnan(found[2])
    assert found[1] == pytest.approx(roc_auc_score(same, scores, sample_weight=[1, 3, 2, 1e-12]))


def test_per_person_compares_means(tmp_path: Path):
    generator = np.random.default_rng(5)
    voices, photos = generator.standard_normal((5, 6)), [generator.standard_normal((k, 6)) for k in (2, 1, 3)]
    first = np.stack([own[0] for own in photos])
    rows, paths = np.array([2, 0, 2, 0, 0]), ["c/0", "a/0", "c/1", "a/1", "a/2"]
    material = Material(Dataset(tmp_path), ["a", "b", "c"], list("xyz"), first, paths, voices, rows, [], first[:0])
    found = averaged(material, photos)
    assert found.queries == ["a/0", "c/0"] and found.rows.tolist() == [0, 2]
    assert np.allclose(found.embeddings[:], [voices[[1, 3, 4]].mean(0), voices[[0, 2]].mean(0)])
    assert np.allclose(found.gallery[:], [own.mean(0) for own in photos])


PINS = (
    "id,voice-speaker-id,face-speaker-id,label,voice-path,face-path\n1,2,2,1,A/v.wav,A/f.jpg\n2,2,9,0,A/v.wav,B/f.jpg\n"
)


def test_trial_lists_of_each_layout(tmp_path: Path):
    file = tmp_path / "list.txt"
    file.write_text("1 id1/v/00001.wav id1/f.jpg\n\n0 id2/f.jpg id1/v/00001.wav\n")
    assert read_trials(file, "x") == [
        Trial("id1/v/00001.wav", "id1/f.jpg", "", True),
        Trial("id1/v/00001.wav", "id2/f.jpg", "", False),
    ]
    file.write_text("ysuvkz41 voices/English/00000.wav faces/English/00000.jpg\r\n")
    assert read_trials(file, "x") == [Trial("voices/English/00000.wav", "faces/English/00000.jpg", "ysuvkz41", None)]
    file.write_text(PINS)
    assert read_trials(file, "x") == [Trial("A/v.wav", "A/f.jpg", "1", True), Trial("A/v.wav", "B/f.jpg", "2", False)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no trials"),
        ("1 a.wav b.jpg\n1 a.wav\n", "line 2: not LABEL PATH PATH"),
        (PINS.replace(",1,A", ",yes,A"), "line 2: label yes"),
        (PINS.replace("label", "target"), "needs a column label"),
    ],
)
def test_a_list_that_is_none_is_refused_with_its_line(tmp_path: Path, text: str, words: str):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(UserError, match=words):
        read_trials(tmp_path / "list.txt", "trials=list.txt")
