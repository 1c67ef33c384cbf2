"""The prior: its Gaussian model against closed forms, what the flow adds, and faces drawn from it."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SPEECH
from PIL import Image

import speech2face
from speech2face.errors import UserError
from speech2face.inference.decoder import Face, Prior
from speech2face.inference.heard import measure
from speech2face.priors.flow import FlowPrior
from speech2face.priors.remainder import Remainder
from speech2face.training.prior import energy_score

WIDTH = 12


def pairs(count: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Voices on a line, and faces whose mean is linear in the voice and whose covariance does not depend on it."""
    random = np.random.default_rng(seed)
    effect, mixing = random.normal(size=WIDTH), random.normal(size=(WIDTH, WIDTH)) / 3
    voice = random.normal(size=(count, 1))
    faces = 2 + voice * effect + random.normal(size=(count, WIDTH)) @ mixing.T
    voices = np.pad(voice, ((0, 0), (0, WIDTH - 1)))
    return voices.astype(np.float32), faces.astype(np.float32), effect, mixing @ mixing.T


def fitted(**sizes: int) -> tuple[FlowPrior, np.ndarray, np.ndarray]:
    voices, faces, effect, covariance = pairs()
    prior = FlowPrior(**({"components": WIDTH, "conditions": 1, "width": 16, "embedding": WIDTH} | sizes))
    prior.fit(voices, faces)
    return prior, effect, covariance


def draw(prior: FlowPrior, voice: float, count: int = 20_000, **how: float) -> np.ndarray:
    voices = torch.tensor([[voice, *[0.0] * (WIDTH - 1)]])
    return prior.sample(voices, count, [torch.Generator().manual_seed(1)], **how)[0][0].numpy()


def test_an_untrained_prior_is_the_linear_gaussian_model() -> None:
    prior, effect, covariance = fitted()
    for voice in (-1.0, 0.5):
        drawn = draw(prior, voice)
        np.testing.assert_allclose(drawn.mean(0), 2 + voice * effect, atol=0.08)
        np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.1)


def test_guidance_scales_the_effect_of_the_voice_and_truncation_the_spread() -> None:
    prior, effect, covariance = fitted()
    for guidance in (0, 2):
        np.testing.assert_allclose(draw(prior, 1, guidance=guidance).mean(0), 2 + guidance * effect, atol=0.12)
    np.testing.assert_allclose(np.cov(draw(prior, 1, truncation=0.5).T), covariance / 4, atol=0.05)


def test_the_loss_of_the_gaussian_model_is_that_of_the_best_velocity() -> None:
    """The variance of end - start given the position is 1 / (t^2 + (1 - t)^2), whose mean over t is pi / 2."""
    prior, *_ = fitted()
    voices, faces, *_ = pairs(seed=0)
    loss = prior.loss(torch.from_numpy(voices), torch.from_numpy(faces), torch.Generator().manual_seed(0), 0.0, 0.0)
    assert loss.mean().item() == pytest.approx(np.pi / 2, rel=0.03)


def test_the_flow_learns_what_is_not_gaussian() -> None:
    random = np.random.default_rng(0)
    faces = np.sign(random.normal(size=(2000, 2))) + 0.05 * random.normal(size=(2000, 2))
    faces, voices = torch.from_numpy(faces.astype(np.float32)), torch.zeros(2000, 2)
    torch.manual_seed(0)
    prior = FlowPrior(components=2, conditions=1, width=64, embedding=2)
    prior.fit(np.asarray(random.normal(size=(2000, 2)), np.float32), faces.numpy())

    def beside_the_modes() -> float:
        drawn, _ = prior.sample(voices[:1], 1000, [torch.Generator().manual_seed(1)], steps=20)
        return float((drawn.abs() - 1).abs().amax(2).gt(0.3).float().mean())

    before, optimizer, generator = beside_the_modes(), torch.optim.Adam(prior.parameters(), 3e-3), torch.Generator()
    for step in range(800):
        optimizer.zero_grad()
        prior.loss(voices, faces, generator.manual_seed(step), 0.0, 0.0).mean().backward()
        optimizer.step()
    assert before > 0.5 and beside_the_modes() < before / 4


def test_small_components_follow_the_large_ones_in_mean_and_spread() -> None:
    random = np.random.default_rng(0)
    large = random.normal(size=(8000, 2)).astype(np.float32)
    small = large.prod(1) + np.exp(0.5 * large[:, 0]) * random.normal(size=8000)
    remainder = Remainder(2, 1)
    remainder.fit(large, small[:, None].astype(np.float32))
    noise = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0))
    for place in ((-1.0, 1.0), (0.0, 0.0), (1.5, 1.0)):
        drawn = remainder(torch.tensor([place]).expand(20_000, 2), noise)
        assert float(drawn.mean()) == pytest.approx(np.prod(place), abs=0.25)
        assert float(drawn.std()) == pytest.approx(np.exp(0.5 * place[0]), rel=0.15)


def test_samples_vary_as_the_faces_of_the_training_whatever_the_network_does() -> None:
    prior, effect, covariance = fitted(learnt=5)
    np.testing.assert_allclose(np.cov(draw(prior, 0.5).T), covariance, atol=0.1)
    torch.manual_seed(0)
    torch.nn.init.normal_(prior.network[-1].weight, std=1.0)
    assert np.abs(np.cov(draw(prior, 0.5).T) - covariance).max() > 0.3
    prior.match()
    voices = torch.from_numpy(pairs()[0][np.linspace(0, 3999, 256).astype(int)])  # those that the prior remembers
    drawn, _ = prior.sample(voices, 100, [torch.Generator().manual_seed(0)] * 256)
    left = (drawn.numpy() - 2 - voices[:, :1, None].numpy() * effect).reshape(-1, WIDTH)
    np.testing.assert_allclose(left.mean(0), 0, atol=0.1)
    np.testing.assert_allclose(np.cov(left.T), covariance, atol=0.1)


def test_a_voice_fixes_the_share_of_a_trait_that_regression_explains() -> None:
    prior, effect, covariance = fitted(traits=("age", "sex"))
    voices, faces, *_ = pairs()
    direction = np.arange(WIDTH) - 4.0
    prior.fit_traits(faces, {"age": faces @ direction, "sex": np.full(len(faces), np.nan)})
    explained, left = (effect @ direction) ** 2, direction @ covariance @ direction
    found = Prior(prior).heard(torch.from_numpy(voices[0]), torch.Generator().manual_seed(0))
    assert found.keys() == {"age"}  # nothing is known of sex
    assert found["age"] == pytest.approx(explained / (explained + left), abs=0.1)


def test_what_is_measured_on_a_face() -> None:
    points = np.zeros((72, 2), np.float32)
    points[17:27], points[8], points[31:36] = (100, 80), (100, 180), (100, 130)
    points[36:42], points[42:48], points[3], points[13] = (70, 90), (130, 90), (50, 130), (150, 130)
    image = np.full((224, 224, 3), 51, np.uint8)
    image[100:160], image[:40] = 204, 102
    found = measure(Face(image, points))
    assert found == pytest.approx({"skin_tone": 0.8, "hair_tone": 0.4, "face_width": 1.0, "jaw_length": 0.5}, abs=0.01)
    assert measure(Face(image)) == {}


def test_the_energy_score_of_a_normal_distribution() -> None:
    """At its mean it is sqrt(2 / pi) - 1 / sqrt(pi) (Gneiting and Raftery 2007, equation 21, with beta 1)."""
    drawn = torch.randn(20, 3000, 1, generator=torch.Generator().manual_seed(0))
    found = energy_score(drawn, torch.zeros(20, 1)).mean()
    assert float(found) == pytest.approx((2 / np.pi) ** 0.5 - np.pi**-0.5, abs=0.01)


def test_samples_depend_on_seed_and_input_alone_and_leave_the_typical_face() -> None:
    with_samples = speech2face.build("pipeline=speech", "samples=2", "batch_size=4", "device=cpu", "precision=fp32")
    alone = speech2face.build("pipeline=speech", "device=cpu", "precision=fp32")
    other = speech2face.build("pipeline=speech", "samples=2", "seed=1", "device=cpu", "precision=fp32")
    photo = Path(SPEECH).with_name("alsa_female.flac")
    first, second = with_samples([SPEECH, photo])
    assert not alone(SPEECH).faces.samples
    np.testing.assert_allclose(alone(SPEECH).face.astype(int), first.face, atol=1)
    again = with_samples(SPEECH).faces.samples
    for one, same in zip(first.faces.samples, again, strict=True):
        np.testing.assert_allclose(one.image.astype(int), same.image, atol=2)
    for different in (second.faces.samples[0], other(SPEECH).faces.samples[0], first.faces.samples[1]):
        assert np.abs(different.image.astype(int) - first.faces.samples[0].image).mean() > 2
    assert first.faces.samples[0].score < 0 and first.faces.samples[0].embedding.shape == (4096,)


def test_the_files_of_samples(run, tmp_path: Path) -> None:
    run("pipeline=speech", f"audio={SPEECH}", "samples=3", "hydra.run.dir=out")
    folder = tmp_path / "out" / SPEECH.stem
    with np.load(folder / "samples.npz") as found:
        assert found["landmarks"].shape == (3, 72, 2) and found["embeddings"].shape == (3, 4096)
        for number in range(3):
            np.testing.assert_array_equal(
                np.asarray(Image.open(folder / "samples" / f"{number + 1}.png")), found["images"][number]
            )
    (row,) = csv.DictReader((tmp_path / "out" / "results.csv").open())
    assert 0.5 < float(row["heard_sex"]) <= 1 and float(row["heard_hair_tone"]) < 0.4
    assert "prior" in json.loads((tmp_path / "out" / "run.json").read_text())["weights"]
    assert Image.open(folder / "panel.png").height > 700


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["encoder=ast", "encoder.weights=bundled/talkers", "decoder=normalized"], "the faces mean nothing"),
        (["steps=0"], "steps=0: must be a whole number, at least 1, at most 1000"),
        (["truncation=0"], "truncation=0: must be a number, more than 0, at most 2"),
        (["guidance=-1"], "guidance=-1: must be a number, at least 0, at most 10"),
    ],
)
def test_mistakes_are_one_line(change: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        speech2face.build("pipeline=speech", "samples=2", *change)
    assert message in str(error.value) and "\n" not in str(error.value)
