"""Pretrained speaker encoders against the packages that they come from, and against the equations of their papers."""

import sys
import types
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import GOLDENS, SPEECH, TINY
from goldens.make_speakers import clip

from speech2face import build
from speech2face.encoders.ge2e import GE2E, RESEMBLYZER
from speech2face.errors import UserError
from speech2face.preprocessing.mel import MelSpectrogram
from speech2face.weights.load import load
from speech2face.weights.part import Part

SMALL_GE2E = {"_target_": "speech2face.encoders.ge2e.GE2E", "hidden": 8, "output": 6}


def weights_of(golden: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {n.removeprefix("weights/"): torch.from_numpy(t) for n, t in golden.items() if n.startswith("weights/")}


def as_resemblyzer(state: dict[str, torch.Tensor]) -> dict[str, object]:
    """A checkpoint as the package has it."""
    loss = {"similarity_weight": torch.ones(1), "similarity_bias": torch.ones(1)}
    return {"step": 1_564_501, "model_state": loss | state, "optimizer_state": {"state": {}, "param_groups": []}}


@torch.inference_mode()
def test_ge2e_and_its_front_end_are_resemblyzers() -> None:
    golden = dict(np.load(GOLDENS / "ge2e.npz"))
    mel = MelSpectrogram()(torch.from_numpy(clip())[None])
    assert mel.shape == (1, 201, 40)
    np.testing.assert_allclose(mel[0, ::4].numpy(), golden["mel"], rtol=1e-4, atol=1e-7)
    network = GE2E(hidden=8, output=6)
    weights = RESEMBLYZER.rename(weights_of(golden))
    assert network.load_state_dict(weights, strict=False).missing_keys == ["head.weight", "head.bias"]
    partials = torch.stack([mel[0, :160], mel[0, 41:]])
    output = network.describe(partials)[:, -6:].numpy()
    np.testing.assert_allclose(output, golden["output"], atol=1e-5)
    assert np.abs(np.diff(golden["output"], axis=0)).max() > 1e-3  # partials that can be told apart


@torch.inference_mode()
def test_ge2e_describes_a_partial_by_the_last_states_of_all_layers() -> None:
    """The equations of the LSTM (Hochreiter and Schmidhuber, 1997, with forget gates) and of the published output."""
    torch.manual_seed(0)
    network = GE2E(mel_bins=5, hidden=7, layers=3, output=4)
    state = {name: tensor.numpy().astype(np.float64) for name, tensor in network.state_dict().items()}
    partial = torch.rand(9, 5)
    inputs, last = partial.numpy().astype(np.float64), []
    for layer in range(3):
        cell, hidden, outputs = np.zeros(7), np.zeros(7), []
        for x in inputs:
            gates = sum(
                state[f"lstm.{layer}.weight_{k}_l0"] @ v + state[f"lstm.{layer}.bias_{k}_l0"]
                for k, v in (("ih", x), ("hh", hidden))
            )
            enter, forget, new, leave = gates.reshape(4, 7)
            cell = cell / (1 + np.exp(-forget)) + np.tanh(new) / (1 + np.exp(-enter))
            hidden = np.tanh(cell) / (1 + np.exp(-leave))
            outputs.append(hidden)
        inputs = np.stack(outputs)
        last.append(hidden)
    output = np.maximum(state["linear.weight"] @ hidden + state["linear.bias"], 0)
    expected = np.concatenate([*last, output / np.linalg.norm(output)])
    np.testing.assert_allclose(network.describe(partial[None])[0].numpy(), expected, atol=1e-5)


@torch.inference_mode()
def test_ge2e_averages_partials_by_the_sound_in_them() -> None:
    torch.manual_seed(0)
    network = GE2E(hidden=8, output=6).eval()
    x = torch.rand(2, 601, 40)
    starts = [round(i * 441 / 6) for i in range(7)]  # 7 partials, half of each in the next
    whole = torch.stack([network.describe(x[:, start : start + 160]) for start in starts]).mean(0)
    torch.testing.assert_close(network.trunk(x), whole)
    x[:, 160:] *= 1e-6  # only the first two partials hold sound, the second one (160 - 74) / 160 of it
    parts = [network.describe(x[:, start : start + 160]) for start in starts[:3]]
    shares = [1, 86 / 160, 13 / 160]
    expected = sum(share * part for share, part in zip(shares, parts, strict=True)) / sum(shares)
    torch.testing.assert_close(network.trunk(x), expected, atol=1e-4, rtol=0)
    for frames in (1, 40, 160, 161, 241):
        assert network(torch.rand(1, frames, 40)).isfinite().all()
    assert network(torch.zeros(1, 300, 40)).isfinite().all()


def test_a_training_starts_from_resemblyzers_file_and_adds_a_head(tmp_path: Path) -> None:
    state = weights_of(dict(np.load(GOLDENS / "ge2e.npz")))
    torch.save(as_resemblyzer(state), tmp_path / "pretrained.pt")
    configured = {"_target_": "speech2face.encoders.ge2e.GE2E"}
    loaded = load(Part(option="ge2e", modality="speech", model=configured, weights="random",
                       init=str(tmp_path / "pretrained.pt")))  # fmt: skip
    own = loaded.network.state_dict()
    assert torch.equal(own["lstm.2.weight_hh_l0"], state["lstm.weight_hh_l2"])
    assert torch.equal(own["linear.bias"], state["linear.bias"])
    assert own["head.weight"].shape == (4096, 30) and loaded.part.model["hidden"] == 8
    with pytest.raises(UserError, match=r"no 4096-D embedding.*found none.*encoder\.init="):
        load(Part(option="ge2e", modality="speech", model=configured, weights=str(tmp_path / "pretrained.pt")))
    torch.save(own, tmp_path / "with_head.pt")
    again = load(Part(option="ge2e", modality="speech", model=SMALL_GE2E, weights=str(tmp_path / "with_head.pt")))
    x = torch.rand(1, 300, 40)
    with torch.inference_mode():
        torch.testing.assert_close(again.network(x), loaded.network(x))


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speech2face.weights.locate.find_spec", lambda name: None)
    with pytest.raises(UserError, match="the package resemblyzer is not installed"):
        load(Part(option="ge2e", model=SMALL_GE2E, weights="random", init="package:resemblyzer/pretrained.pt"))


@torch.inference_mode()
@pytest.mark.skipif(find_spec("resemblyzer") is None, reason="resemblyzer is not installed")
def test_published_weights_of_ge2e_against_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    package = types.ModuleType("resemblyzer")
    package.__path__ = list(find_spec("resemblyzer").submodule_search_locations)
    package.audio = types.ModuleType("resemblyzer.audio")  # it imports webrtcvad, which the network does not need
    monkeypatch.setitem(sys.modules, "resemblyzer", package)
    monkeypatch.setitem(sys.modules, "resemblyzer.audio", package.audio)
    from resemblyzer.voice_encoder import VoiceEncoder

    theirs = VoiceEncoder("cpu", verbose=False)
    monkeypatch.undo()
    part = Part(
        option="ge2e",
        model={"_target_": SMALL_GE2E["_target_"]},
        weights="random",
        init="package:resemblyzer/pretrained.pt",
    )
    loaded = load(part)
    assert loaded.layout == RESEMBLYZER.name
    features = build("encoder=ge2e", *TINY).encoder.prepare(str(SPEECH)).features
    partials = torch.stack([features[0, start : start + 160] for start in (0, 200, 441)])
    ours = loaded.network.describe(partials)[:, -256:]
    torch.testing.assert_close(ours, theirs(partials), atol=1e-4, rtol=0)
    assert (ours @ ours.T).min() > 0.6  # one speaker
