"""Training on several datasets at once: which rows are drawn, and what people without a photo contribute."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tone, write_audio

from speech2face.data.dataset import Dataset, Files
from speech2face.encoders.ge2e import GE2E
from speech2face.preprocessing.audio import Audio
from speech2face.preprocessing.waveform import Waveform
from speech2face.training.data import Clips
from speech2face.training.mixture import Mixture, Shuffled
from speech2face.training.traits import encode_traits, learnt_traits
from speech2face.training.voice import VoiceTraining


@pytest.mark.parametrize("balanced", [False, True])
def test_an_epoch_draws_from_the_parts_by_their_weights_and_evenly_within_them(balanced: bool) -> None:
    starts = np.array([0, 1, 5, 10, 20, 50]) if balanced else None  # two people in the first part, three in the second
    parts = [(5, 3.0), (45, 1.0)]
    shares = [[row for _, row in Shuffled(50, 0, rank, 2, starts=starts, parts=parts)] for rank in range(2)]
    rows = np.concatenate(shares)
    assert len(rows) == 50 and np.sum(rows < 5) == 38  # three quarters of them
    if balanced:
        drawn = np.bincount(np.searchsorted(starts, rows, side="right") - 1)
        assert max(drawn[:2]) - min(drawn[:2]) <= 1 and max(drawn[2:]) - min(drawn[2:]) <= 1
    else:
        assert max(np.bincount(rows)[:5]) - min(np.bincount(rows)[:5]) <= 1
        assert len(np.unique(rows[rows >= 5])) == 12  # nothing twice where there is enough
    again = Shuffled(50, 0, 0, 2, starts=starts, parts=parts)
    assert [row for _, row in again] == shares[0]
    again.set_epoch(1)
    assert [row for _, row in again] != shares[0]


def clips(root: Path, pitches: list[list[float]], **options: object) -> Clips:
    """Recordings of people, each a tone; none of them has a photo."""
    paths = [f"{i}_{j}.wav" for i, one in enumerate(pitches) for j in range(len(one))]
    root.mkdir()
    for path, hertz in zip(paths, [hertz for one in pitches for hertz in one], strict=True):
        write_audio(root / path, tone(1.5, 16_000, hertz), 16_000, "pcm_s16le")
    people = [f"person{i}" for i in range(len(pitches))]
    files = Files(people, np.cumsum([0, *map(len, pitches)]), paths)
    no_photos = np.zeros(len(people) + 1, int)
    audio = Audio(Waveform(), window_seconds=1.0)
    faces = np.zeros((0, 4096), np.float32)
    return Clips(root, files, people, no_photos, faces, audio, seconds=1.0, augment=0.0, **options)


def pitch(waveform: torch.Tensor) -> float:
    """In Hz, of a waveform of one second."""
    return float(np.abs(np.fft.rfft(waveform.numpy())).argmax())


def test_a_mixture_has_the_recordings_of_all_and_other_people_in_each(tmp_path: Path) -> None:
    parts = [[[200.0], [300.0, 310.0]], [[400.0, 410.0, 420.0]]]
    mixture = Mixture([clips(tmp_path / str(i), one) for i, one in enumerate(parts)], [1.0, 2.0])
    items = [mixture[0, row] for row in range(len(mixture))]
    assert [pitch(item["features"]) for item in items] == [200, 300, 310, 400, 410, 420]
    assert [item["row"] for item in items] == list(range(6))
    assert [int(item["person"]) for item in items] == mixture.people.tolist() == [0, 1, 1, 2, 2, 2]
    assert mixture.starts.tolist() == [0, 1, 3, 6] and mixture.parts == [(3, 1.0), (3, 2.0)]
    assert not any(item["has_face"] for item in items)


def test_the_second_recording_is_another_one_of_the_same_speaker(tmp_path: Path) -> None:
    rows = clips(tmp_path / "a", [[200.0], [300.0, 310.0, 320.0], [400.0, 410.0]], pairs=True)
    (tmp_path / "a" / "2_1.wav").write_bytes(b"RIFF")
    heard = [[pitch(rows[epoch, row]["second"]) for epoch in range(8)] for row in range(5)]
    assert set(heard[0]) == {200}
    assert set(heard[1]) == {310, 320} and set(heard[2]) == {300, 320} and set(heard[3]) == {300, 310}
    assert set(heard[4]) == {400}  # the other one cannot be read, and the next is somebody else's


def test_people_without_a_photo_are_left_out_of_the_terms_about_faces_only() -> None:
    torch.manual_seed(0)
    terms = dict.fromkeys(("normalized", "length", "contrastive", "traits", "consistency"), 1.0)
    training = VoiceTraining(GE2E(hidden=4), terms, classes={"sex": 2})
    batch = {"features": torch.rand(6, 30, 40), "second": torch.rand(6, 30, 40), "person": torch.arange(6)}
    batch |= {"face": torch.rand(6, 4096), "sex": torch.tensor([0, 1, 1, -1, 0, 1])}
    has_face = torch.tensor([True, False, True, True, False, False])
    some = {name: tensor[has_face] for name, tensor in batch.items()}
    found, expected = training.terms(batch | {"has_face": has_face}, None), training.terms(some, None)
    whole = training.terms(batch, None)
    for name in ("normalized", "length", "contrastive"):
        torch.testing.assert_close(found[name], expected[name])
    for name in ("traits", "consistency"):
        torch.testing.assert_close(found[name], whole[name])
        assert not torch.allclose(whole[name], expected[name])
    none = training.terms(batch | {"has_face": torch.zeros(6, dtype=torch.bool)}, None)
    assert set(none) == {"traits", "consistency"}
    same = training.terms(batch | {"second": batch["features"]}, None)
    assert same["consistency"].item() == pytest.approx(0, abs=1e-6) and whole["consistency"].item() > 1e-5


def test_traits_are_those_of_all_datasets_and_unknown_where_one_has_none() -> None:
    talkers = Dataset(Path("a"), {"p": {"sex": "male", "age": "20"}, "q": {"sex": "male", "age": "40"},
                                  "r": {"sex": "male", "age": "60"}})  # fmt: skip
    humans = Dataset(Path("b"), {"p": {"sex": "female", "age": "twenties"}, "s": {"sex": "", "age": "80"}})
    heads = learnt_traits([(talkers, ["p", "q", "r"]), (humans, ["p", "s"])], ["sex", "age", "size"])
    assert set(heads) == {"sex", "age"} and heads["sex"].names == ["female", "male"]
    assert heads["age"].mean == pytest.approx(50)  # of 20, 40, 60 and 80
    of_humans = encode_traits(humans, ["p", "s"], heads)
    assert of_humans["sex"].tolist() == [0, -1]
    assert np.isnan(of_humans["age"][0]) and of_humans["age"][1] > 1
    of_nobody = encode_traits(Dataset(Path("c"), {}), ["x"], heads)
    assert of_nobody["sex"].tolist() == [-1] and np.isnan(of_nobody["age"]).all()
