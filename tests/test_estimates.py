"""Estimates of sex and age: fitted, calibrated, saved with the weights, shown with every result."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import norm
from torchmetrics.functional.classification import binary_calibration_error

from speech2face import build
from speech2face.encoders.ast import AudioSpectrogramTransformer
from speech2face.errors import UserError
from speech2face.evaluation.estimates import Heard, calibration_error, fit, linear, metrics
from speech2face.evaluation.probes import fit_classifier, fit_regressor
from speech2face.inference.estimates import Estimate, Estimates
from tests.conftest import write_audio

COLUMNS = ("sex", "sex_probability", "age", "age_low", "age_high")
TINY = ["encoder=ast_tiny", "encoder.model.depth=1", "encoder.model.stride=16", "encoder.model.max_frames=98"]
TINY += ["preprocessing.features.max_frames=98", "preprocessing.window_seconds=1.0"]
DRAWN = ["decoder=normalized", "decoder.weights=random", "decoder.model.width=0.02"]


def simulated(seed: int, people: int, clips: int = 3, distance: float = 1.0) -> Heard:
    """Embeddings that depend on six numbers: one is the sex, one is the age with an error of 8 years.

    distance: between the mean of a sex and the middle, in standard deviations within a sex.
    """
    random = np.random.default_rng(seed)
    female, age = random.random(people) < 0.5, random.uniform(20, 80, people)
    hidden = np.repeat(random.normal(size=(people, 1, 6)), clips, 1)
    hidden[:, :, 0] += distance * np.where(female, 1, -1)[:, None]
    hidden[:, :, 1] = ((age + random.normal(0, 8, people)) / 20)[:, None]
    embeddings = hidden @ np.random.default_rng(7).normal(size=(6, 4096))
    owners = np.repeat(np.arange(people), clips)
    sex = np.where(female, "female", "male")
    return Heard(embeddings.reshape(-1, 4096).astype(np.float32), owners, sex[owners], age[owners])


def test_estimates_of_other_people_are_right_calibrated_and_cover_nine_in_ten() -> None:
    estimates = fit(simulated(0, 300), simulated(1, 300))
    found = metrics(estimates, simulated(2, 1500, 1))
    assert found["sex"] == pytest.approx(norm.cdf(1), abs=0.04)  # the sexes are two standard deviations apart
    assert found["sex_calibration_error"] < 0.04
    assert found["age_coverage"] == pytest.approx(0.9, abs=0.03)
    assert found["age_error"] == pytest.approx(8 * np.sqrt(2 / np.pi), abs=1.5)
    assert found["age_constant_error"] == pytest.approx(15, abs=1) and found["age_correlation"] > 0.85


def test_few_people_give_no_certainty_and_too_few_no_estimate() -> None:
    estimates = fit(simulated(0, 40, 1, distance=20), simulated(1, 20, 1, distance=20))
    odds = estimates.read("sex", simulated(2, 50, 1, distance=20).embeddings)
    assert 0.8 < (1 / (1 + np.exp(-np.abs(odds)))).mean() < 0.97  # of ten, one more could have been wrong
    few = simulated(0, 12)
    few.sex[:] = "male"
    few.age[few.people > 3] = np.nan
    assert fit(few, simulated(1, 12)).numbers == {}


def test_the_linear_functions_are_those_of_the_probes() -> None:
    rows = simulated(3, 60)
    rows.embeddings[:, 99:] = 0  # columns that do not vary
    sex = fit_classifier(rows.embeddings, rows.sex == "female", rows.people)
    age = fit_regressor(rows.embeddings, rows.age, rows.people)
    read = Estimates({"sex": linear(sex), "age": linear(age)})
    np.testing.assert_allclose(read.read("sex", rows.embeddings), sex.decision_function(rows.embeddings), atol=1e-3)
    np.testing.assert_allclose(read.read("age", rows.embeddings), age.predict(rows.embeddings), atol=1e-3)


def test_calibration_error_against_torchmetrics() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(0.5, 1, 500)
    right = random.random(500) < confidence**2
    theirs = binary_calibration_error(torch.from_numpy(confidence), torch.from_numpy(right).long(), n_bins=10)
    assert calibration_error(confidence, right) == pytest.approx(theirs.item(), abs=1e-6)


def test_an_estimate_is_one_line_with_uncertainty() -> None:
    assert str(Estimate("male", 0.968, 43.4, 24.6, 62.1)) == "male (97 %), 43 years (25 to 62)"
    assert str(Estimate()) == "" and str(Estimate(age=30, age_low=20, age_high=41)) == "30 years (20 to 41)"
    one = Estimates({"age": np.append(np.zeros(4096), 5.0), "age_errors": np.array([-9.0, 9.0])})(np.zeros(4096))
    assert (one.age_low, one.age, one.age_high) == (0, 5, 14)  # nobody is younger than nothing


def voices(root: Path, people: int) -> None:
    """People who hum: women higher than men, old people with less of the high harmonics."""
    random, rows = np.random.default_rng(0), []
    for number in range(people):
        split = ("train", "train", "val", "test")[number % 4]
        sex, age = ("female", "male")[number // 4 % 2], int(random.integers(20, 80))
        pitch = {"female": 210, "male": 110}[sex] * random.uniform(0.9, 1.1)
        time = np.arange(16000) / 16000
        hum = sum(np.exp(-k * age / 200) * np.sin(2 * np.pi * k * pitch * time) for k in range(1, 20))
        folder = root / f"p{number:02}" / "audios"
        folder.mkdir(parents=True)
        write_audio(folder / "0.wav", (0.05 * hum).astype(np.float32), 16000, "pcm_s16le")
        rows.append((f"p{number:02}", split, sex, age))
    with open(root / "people.csv", "w", newline="") as file:
        csv.writer(file).writerows([("person", "split", "sex", "age"), *rows])


def first_row(run: Path) -> dict[str, str]:
    with open(run / "results.csv", newline="") as file:
        return next(csv.DictReader(file))


def test_estimates_as_typed(run: Callable, tmp_path: Path) -> None:
    voices(tmp_path / "people", 48)
    torch.manual_seed(0)
    settings = {"depth": 1, "stride": 16, "max_frames": 98, "hidden_size": 32, "heads": 2, "mlp_size": 64}
    torch.save(AudioSpectrogramTransformer(**settings).state_dict(), tmp_path / "w.pt")
    tiny = [*TINY, *(f"encoder.model.{name}={settings[name]}" for name in ("hidden_size", "heads", "mlp_size"))]
    run("pipeline=estimates", *tiny, "encoder.weights=w.pt", "data.root=people", "hydra.run.dir=told")
    found = json.loads((tmp_path / "told/run.json").read_text())["metrics"]
    assert found["people/sex"] > 0.8 and found["people/age_error"] < found["people/age_constant_error"]
    run("pipeline=convert", "encoder=ast_tiny", "encoder.weights=told", "slim=true", "hydra.run.dir=small")
    run("encoder=ast_tiny", "encoder.weights=small", *DRAWN, "audio=people/p03/audios/0.wav", "hydra.run.dir=heard")
    row = first_row(tmp_path / "heard")
    assert row["sex"] == "female" and 0.5 <= float(row["sex_probability"]) < 1
    assert float(row["age_low"]) <= float(row["age"]) <= float(row["age_high"])
    one = build("encoder=ast_tiny", f"encoder.weights={tmp_path / 'told'}", *DRAWN)(
        tmp_path / "people/p03/audios/0.wav"
    )
    assert one.estimate.sex == "female" and one.estimate.age == pytest.approx(float(row["age"]), abs=0.5)
    plain = build(*tiny, f"encoder.weights={tmp_path / 'w.pt'}", *DRAWN)(tmp_path / "people/p03/audios/0.wav")
    assert set(plain.estimate.row().values()) == {None}  # weights without estimates
    tensors = load_file(tmp_path / "told/model.safetensors")
    card = json.loads((tmp_path / "told/speech2face.json").read_text())
    tensors["estimates.sex"] = tensors["estimates.sex"][:-1].contiguous()
    (tmp_path / "bad").mkdir()
    save_file(tensors, tmp_path / "bad/model.safetensors", {"speech2face": json.dumps(card)})
    with pytest.raises(UserError, match=r"damaged weights: estimates\.sex is no estimate"):
        build("encoder=ast_tiny", f"encoder.weights={tmp_path / 'bad'}", *DRAWN)
