"""training.pairing=traits: recordings and photos of different people of the same sex and about the same age."""

from pathlib import Path

import numpy as np
import torch

from speech2face.data.dataset import Dataset
from speech2face.training.losses import squared_distance
from speech2face.training.pairing import match


def people(**traits: dict[str, str]) -> tuple[Dataset, list[str]]:
    return Dataset(Path(), traits), sorted(traits)


def drawn(matches: object, speaker: int, count: int = 4000) -> np.ndarray:
    random = np.random.default_rng(0)
    return np.bincount([matches.draw(speaker, random) for _ in range(count)], minlength=5) / count


SPEAKERS = people(
    a={"sex": "female", "age": "30"},
    b={"sex": "male", "age": ""},
    c={"sex": "male", "age": "20"},
    d={"sex": "", "age": "60"},
)
FACES = people(
    v={"sex": "female", "age": "33"},
    w={"sex": "female", "age": "50"},
    x={"sex": "male", "age": "60"},
    y={"sex": "male", "age": "60"},
    z={"sex": "male", "age": "30"},
)


def test_a_photo_has_what_is_known_of_the_speaker() -> None:
    matches = match(SPEAKERS, FACES, {"sex": "equal", "age": 5})
    assert drawn(matches, 0).tolist() == [1, 0, 0, 0, 0]
    assert set(np.flatnonzero(drawn(matches, 1))) == {2, 3, 4}
    assert set(np.flatnonzero(drawn(matches, 3))) == {2, 3}


def test_every_age_is_equally_likely_however_many_have_it() -> None:
    shares = drawn(match(SPEAKERS, FACES, {"sex": "equal"}), 1)
    assert abs(shares[4] - 0.5) < 0.03 and abs(shares[2] - 0.25) < 0.03


def test_speakers_without_a_photo_are_left_out(caplog) -> None:
    kept, left = match(SPEAKERS, FACES, {"sex": "equal", "age": 5}).fitting(SPEAKERS[1], np.array([0, 2, 3, 5, 6]))
    assert kept == ["a", "b", "d"] and "1 of 4 speakers" in caplog.text
    assert left.draw(0, np.random.default_rng(0)) == 0
    assert {left.draw(2, np.random.default_rng(i)) for i in range(20)} == {3, 5}


def test_the_squared_distance_is_least_at_the_mean() -> None:
    true = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    losses = [squared_distance((true.mean(0) + step).expand_as(true), true) for step in (-0.1, 0.0, 0.1)]
    assert losses[1] < min(losses[0], losses[2])
