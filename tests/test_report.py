"""What reports say: paired differences, descriptions, published figures; the table of a run's embeddings."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import EXAMPLES, TINY_AST
from scipy import stats

from speech2face.evaluation import comparison, page, paired, statistics, summary
from speech2face.evaluation.describe import describe, group_of
from speech2face.evaluation.estimator import Estimator
from speech2face.evaluation.observers import ideal_observer
from speech2face.inference.page import render
from speech2face.run.table import person_of

GENERATOR = np.random.default_rng(0)
EASE = GENERATOR.normal(0, 3, 200)  # of a person, for both encoders
NAMES = np.array([f"person {i}" for i in range(200)])


def rows(kind: str, *columns: np.ndarray, people: np.ndarray = NAMES) -> paired.Rows:
    return paired.Rows(kind, columns, people)


def test_paired_differences_are_those_of_scipys_bootstrap():
    generator = np.random.default_rng(1)
    a, b = EASE + generator.normal(0, 1, 200), EASE + generator.normal(0.25, 1, 200)
    found = paired.difference(rows("mean", a), rows("mean", b), samples=4000)
    theirs = stats.bootstrap((b - a,), np.mean, method="percentile", n_resamples=4000, rng=1).confidence_interval
    width = theirs.high - theirs.low
    assert found.value == pytest.approx((b - a).mean()) and found.people == 200
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.06 * width)
    assert found.p == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=0.2) and found.p < 0.05
    assert found.high - found.low < 0.5 * width * EASE.std()  # people are hard or easy for both
    truth = GENERATOR.normal(0, 1, 200)
    x, y = truth + generator.normal(0, 1, 200), truth + generator.normal(0, 2, 200)

    def gain(t, p, q):
        return stats.pearsonr(t, q).statistic - stats.pearsonr(t, p).statistic

    theirs = stats.bootstrap(
        (truth, x, y), gain, paired=True, vectorized=False, method="percentile", n_resamples=1000, rng=1
    ).confidence_interval
    found = paired.difference(rows("correlation", truth, x), rows("correlation", truth, y), samples=4000)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.1 * (theirs.high - theirs.low))


def test_paired_differences_are_over_the_people_of_both():
    """With several rows of a person, in any order, and people that only one evaluation has."""
    generator = np.random.default_rng(2)
    people = np.repeat(NAMES, 3)
    a = np.repeat(EASE, 3) + generator.normal(0, 1, 600)
    mixed = generator.permutation(600)
    same = paired.difference(rows("mean", a, people=people), rows("mean", a[mixed], people=people[mixed]))
    assert same.value == pytest.approx(0, abs=1e-12) and abs(same.high) < 1e-9 and same.low > -1e-9
    some = people <= "person 150"
    found = paired.difference(rows("mean", a, people=people), rows("mean", a[some] + 1, people=people[some]))
    assert found.people == len(set(people[some])) and found.value == pytest.approx(1)
    assert paired.difference(rows("mean", a[:3], people=people[:3]), rows("mean", a, people=people)) is None
    assert paired.difference(rows("mean", a, people=people), rows("median", a, people=people)) is None


def test_equal_encoders_are_called_different_once_in_twenty():
    generator, called = np.random.default_rng(3), []
    for seed in range(200):
        ease = generator.normal(0, 2, 60)
        a, b = (rows("mean", ease + generator.normal(0, 1, 60), people=NAMES[:60]) for _ in range(2))
        called.append(paired.difference(a, b, samples=300, seed=seed).p < 0.05)
    assert 0.015 < np.mean(called) < 0.11


def test_holm_is_the_step_down_bonferroni():
    assert paired.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert paired.holm([]) == [] and paired.holm([0.9, 0.8]) == [1, 1]


def test_values_of_metrics_come_back(tmp_path: Path):
    people, values = np.repeat(NAMES, 2), np.random.default_rng(4).normal(size=(4, 400))
    estimator = Estimator(people, 50)
    metrics = {
        "a": estimator(statistics.mean(values[0]), 0.0),
        "b": estimator(statistics.correlation(values[0], values[1]), 0.0),
        "c": estimator(statistics.mean_correlation(*values), 0.0),
        "d": estimator.of(np.arange(30))(statistics.median(values[2][:30]), 0.0),
        "e": estimator(lambda weights: weights.sum(1), 0.0),  # not of rows
    }
    paired.write_values(tmp_path, metrics)
    found = paired.read_values(tmp_path, list(metrics))
    assert found.keys() == set("abcd")
    for name, one in found.items():
        value = statistics.of_kind(one.kind, one.columns)(np.ones((1, len(one.people))))[0]
        assert value == pytest.approx(metrics[name].value) and len(one.people) == (30 if name == "d" else 400)
    assert found["c"].people.tolist() == people.tolist() and paired.read_values(tmp_path / "none", ["a"]) == {}


def test_descriptions_have_unit_and_direction():
    recall = describe("retrieval/cosine/1000/R@5")
    assert "5 nearest of 1000" in recall.sentence and recall.shown(0.25) == "25.0 %" and recall.better == "up"
    assert describe("embedding/age/error").shown(9.04) == "9.0 years" and describe("embedding/age/error").arrow == "↓"
    assert describe("embedding/sex/accuracy").shown(None) == "undefined"
    control = describe("embedding/skin_tone/correlation", simulated=True)
    assert control.better == "control" and "control" in control.label and "no voice" in control.sentence
    assert describe("embedding/skin_tone/correlation").better == "up"  # of people, it is what it is
    assert describe("photo/skin_tone/correlation", simulated=True).better == "up"
    unknown = describe("novel/thing")
    assert (unknown.label, unknown.better, unknown.shown(0.5)) == ("thing", "", "0.500")
    assert group_of("novel/thing") == ("novel", "")
    row = dict.fromkeys(("ideal", "traits", "of_ideal"), None) | {"value": 0.5, "low": 0.4, "high": 0.6, "chance": 0.1}
    shown = page.groups({"novel/thing": row, "retrieval/cosine/all/R@1": row}, False)
    assert [group["title"] for group in shown] == ["Retrieval", "novel"] and shown[1]["rows"][0]["value"] == "0.500"


def row_of(value: float, low: float | None = None, high: float | None = None, chance: float | None = None) -> dict:
    return dict.fromkeys(("ideal", "traits", "of_ideal")) | {"value": value, "low": low, "high": high, "chance": chance}


def test_what_stands_beside_a_metric_is_named():
    metrics = {
        "retrieval/cosine/all/R@10": row_of(0.3, 0.2, 0.4, 0.1),
        "calibration/energy": row_of(5, 4, 6, 7.5219),
        "calibration/energy_ratio": row_of(0.7, 0.6, 0.8, 1.0),
        "calibration/age/coverage_50": row_of(0.41, 0.3, 0.5, 0.5),
        "calibration/sex/error": row_of(0.03, 0.01, 0.05, 0.0),
        "calibration/sharpness_ratio": row_of(0.8, 0.7, 0.9, 1.0),
        "calibration/dlib/recall": row_of(0.8),
        "calibration/age/ranks_p": row_of(3e-7, None, None, 0.5),
        "calibration/face/ranks_p": row_of(0.25, None, None, 0.5),
    }
    rows = {row["name"]: row for group in page.groups(metrics, True) for row in group["rows"]}
    assert [rows[name]["chance"] for name in metrics] == [
        *("10.0 %", "single face 7.522", "single face 1", "target 50 %", "target 0", "target 1", "", "", "")
    ]
    assert (
        rows["calibration/age/ranks_p"]["value"] == "< 0.001" and rows["calibration/face/ranks_p"]["value"] == "0.250"
    )
    assert not rows["calibration/age/coverage_50"]["beyond"] and rows["calibration/energy_ratio"]["beyond"]


def test_sentences_tell_of_drawn_faces_and_of_samples():
    asked = summary.Asked({}, "talkers", "all", "speech", simulated=False)
    metrics = {
        "judge/dlib/clip/retrieval/cosine/50/R@10": row_of(0.9, 0.8, 1.0, 0.2),
        "judge/dlib/clip/retrieval/cosine/100/R@10": row_of(0.31, 0.25, 0.37, 0.1),
        "judge/ghost/clip/retrieval/cosine/100/R@10": row_of(0.77, 0.7, 0.8, 0.1),
        "calibration/age/coverage_90": row_of(0.87, 0.8, 0.94, 0.9),
        "calibration/age/ranks_p": row_of(0.0042, None, None, 0.5),
        "calibration/size/ranks_p": row_of(0.3, None, None, 0.5),
    }
    faces, samples = summary.answers(asked, {"people": 300}, metrics)
    assert "31.0 % (95 % interval 25.0 to 37.0)" in faces and "10 of 100" in faces and "dlib" in faces
    assert "better than chance (10.0 %)" in faces and "87.0 %" in samples and "), target 90 %" in samples
    assert "age, size" in samples and "below 0.01 for age." in samples
    metrics["calibration/age/ranks_p"] = row_of(0.02)
    assert "no p is below 0.01" in summary.answers(asked, {"people": 300}, metrics)[1]
    assert summary.answers(asked, {"people": 300}, {}) == []


def test_a_comparison_opens_with_every_significant_difference(tmp_path: Path):
    generator, jobs, heads = np.random.default_rng(6), [], []
    estimator = Estimator(NAMES, 100)
    hits = generator.random(200) < 0.5
    for job, gain in (("ge2e", 0.0), ("ast", 1.0)):
        metrics = {
            "retrieval/cosine/all/R@10": estimator.share(generator.random(200) < 0.3, 0.1),
            "embedding/sex/accuracy": estimator.share(hits, 0.5),
            "calibration/energy": estimator(statistics.mean(EASE - gain + generator.normal(0, 1, 200)), 7.0),
            "calibration/age/coverage_90": estimator.share(generator.random(200) < 0.4 + gain / 2, 0.9),
            "consistency/equal_error_rate": estimator(lambda weights: weights.mean(1) / 4, 0.5),
        }
        jobs.append(tmp_path / job)
        jobs[-1].mkdir()
        paired.write_values(jobs[-1], metrics)
        table = {name: row_of(one.value, one.low, one.high, one.chance) for name, one in metrics.items()}
        heads.append({"people": 200, "queries": 200, "dataset": "talkers", "notes": [], "metrics": table})
    comparison.compare(tmp_path, jobs, ["ge2e", "ast"], heads, [])
    text = (tmp_path / "comparison.html").read_text().replace("\u00a0", " ")
    opening = text[text.index("Which is better") : text.index("How to read")]
    assert "1 of 2 differences are significant after correction" in opening
    assert "energy score: ast is better than ge2e" in opening and "ast minus ge2e: \N{MINUS SIGN}" in opening
    assert "No difference shown: R@10 among all (cosine)." in opening and "coverage" not in opening
    reasons = [part.split("</p>")[0] for part in text.split("Not tested, because ")[1:]]
    for label, reason in (
        ("coverage of 90 %", "direction"),
        ("sex: right", "same"),
        ("equal error rate", "single queries"),
    ):
        assert [reason in one for one in reasons if label in one] == [True]
    assert "take care" not in text
    with open(tmp_path / "differences.csv", newline="") as file:
        assert {one["metric"] for one in csv.DictReader(file)} == {"calibration/energy", "retrieval/cosine/all/R@10"}


@pytest.mark.parametrize(
    "published",
    [
        [{"system": "SF2F", "retrieval/cosine/all/R@10": "29.8 %"}],
        {"source": "Wang et al., 2022", "rows": [{"system": "SF2F", "retrieval/cosine/all/R@10": "29.8 %"}]},
        {"SF2F": {"retrieval/cosine/all/R@10": "29.8 %"}},
    ],
)
def test_published_figures_stand_above_those_of_this_run(published):
    metrics = {"retrieval/cosine/all/R@10": {"value": 0.123}}
    table = page.published_table(published, metrics)
    assert table["columns"] == ["system", "retrieval/cosine/all/R@10"]
    assert table["rows"] == [["SF2F", "29.8 %"], ["this run", "12.3 %"]]
    assert page.published_table(None, metrics) is None


def test_texts_of_users_are_escaped():
    text = render(
        page.TEMPLATES / "comparison.html", title="<script>x</script>", labels=[], asked=[], failed=[], answers=[],
        tested=[], untested={}, samples=1, against_first=False, values=[], plots="", simulated=False, pair="",
    )  # fmt: skip
    assert "<script>" not in text and "&lt;script&gt;" in text


def test_the_ideal_observers_explained_variance_is_that_of_unseen_people():
    generator = np.random.default_rng(5)
    parameters = np.column_stack([generator.normal(size=(900, 5)), np.eye(6)[generator.integers(0, 6, 900)]])
    signal = np.sin(parameters[:, :1]) @ generator.normal(size=(1, 40)) + parameters[:, 1:2] ** 2 * 0.5
    embeddings = (signal + generator.normal(0, 1.5, (900, 40))).astype(np.float32)
    observer = ideal_observer(parameters[:300], embeddings[:300])
    unseen = embeddings[300:]
    residual = ((observer.predict(parameters[300:]) - unseen) ** 2).sum()
    explained = 1 - residual / ((unseen - embeddings[:300].mean(0)) ** 2).sum()
    assert explained > 0.1 and observer.explained == pytest.approx(explained, abs=0.04)
    assert "without the categories" in observer.regressor  # they tell nothing here
    noise = ideal_observer(parameters[:300], embeddings[300:600])
    assert noise.explained < 0.02


def test_a_run_leaves_its_embeddings_in_one_table(run, tmp_path):
    """Also after resume=, with an input that has changed, one that is new, and one that failed."""
    clips = tmp_path / "people" / "anna" / "audios"
    clips.mkdir(parents=True)
    shutil.copy(EXAMPLES / "librivox_male.wav", clips / "a.wav")
    shutil.copy(EXAMPLES / "alsa_female.flac", tmp_path / "people" / "b.flac")
    (tmp_path / "people" / "bad.wav").write_bytes(b"no sound")
    command = [*TINY_AST, "audio=people", "preprocessing.window_seconds=1"]

    def table() -> list[dict]:
        found = pq.read_table(tmp_path / "out" / "embeddings.parquet").to_pylist()
        with open(tmp_path / "out" / "results.csv", newline="") as file:
            done = [row for row in csv.DictReader(file) if row["status"] == "done"]
        assert [(row["input"], row["sha256"]) for row in found] == [(row["input"], row["sha256"]) for row in done]
        for row, one in zip(found, done, strict=True):
            assert np.array_equal(
                np.float32(row["embedding"]), np.load(tmp_path / "out" / one["output"] / "embedding.npy")
            )
        return found

    run(*command, "hydra.run.dir=out", status=1)
    first = table()
    assert {Path(row["input"]).name: row["person"] for row in first} == {"a.wav": "anna", "b.flac": None}
    shutil.copy(EXAMPLES / "alsa_female.flac", tmp_path / "people" / "c.flac")
    shutil.copy(EXAMPLES / "alsa_female.flac", tmp_path / "people" / "bad.wav")
    shutil.copy(EXAMPLES / "librivox_male.wav", tmp_path / "people" / "b.flac")
    run(*command, "resume=out")
    again = {Path(row["input"]).name: row for row in table()}
    assert again.keys() == {"a.wav", "b.flac", "c.flac", "bad.wav"}
    assert again["a.wav"]["sha256"] == again["b.flac"]["sha256"] != first[1]["sha256"]
    assert json.loads((tmp_path / "out" / "run.json").read_text())["counts"]["kept"] == 1


def test_the_person_of_a_file_is_that_of_the_datasets_layout():
    assert person_of(Path("/data/audios/anna/audios/day 1/x.wav")) == "anna"
    assert person_of(Path("/data/anna/Images/x.jpg")) == "anna"
    assert person_of(Path("/data/anna/x.wav")) is None and person_of(Path("/audios/x.wav")) is None
