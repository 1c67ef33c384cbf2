"""Pretrained speaker encoders against the packages that they come from, and against the equations of their papers."""

import sys
import types
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import GOLDENS, SPEECH, TINY
from goldens.make_speakers import clip

from speech2face import build
from speech2face.encoders.ast import AudioSpectrogramTransformer
from speech2face.encoders.base import EncoderNetwork
from speech2face.encoders.ecapa import ECAPA, SPEECHBRAIN
from speech2face.encoders.ge2e import GE2E, RESEMBLYZER
from speech2face.encoders.paper import PaperEncoder
from speech2face.encoders.resnet import ResNet
from speech2face.encoders.wavlm import SpeechModel
from speech2face.errors import UserError
from speech2face.preprocessing.mel import MelDecibels, MelSpectrogram
from speech2face.training.voice import VoiceTraining
from speech2face.weights.load import load
from speech2face.weights.part import Part

SMALL_GE2E = {"_target_": "speech2face.encoders.ge2e.GE2E", "hidden": 8}


def weights_of(golden: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {n.removeprefix("weights/"): torch.from_numpy(t) for n, t in golden.items() if n.startswith("weights/")}


def as_resemblyzer(state: dict[str, torch.Tensor]) -> dict[str, object]:
    """A checkpoint as the package has it."""
    loss = {"similarity_weight": torch.ones(1), "similarity_bias": torch.ones(1)}
    return {"step": 1_564_501, "model_state": loss | state, "optimizer_state": {"state": {}, "param_groups": []}}


def published_output(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The published output of the last hidden states (n, hidden): linear, ReLU, length 1."""
    return F.normalize(F.relu(F.linear(states, weight, bias)))


@torch.inference_mode()
def test_ge2e_and_its_front_end_are_resemblyzers() -> None:
    golden = dict(np.load(GOLDENS / "ge2e.npz"))
    mel = MelSpectrogram()(torch.from_numpy(clip())[None])
    assert mel.shape == (1, 201, 40)
    np.testing.assert_allclose(mel[0, ::4].numpy(), golden["mel"], rtol=1e-4, atol=1e-7)
    network = GE2E(hidden=8)
    published = weights_of(golden)
    weights = RESEMBLYZER.rename(published)
    assert network.load_state_dict(weights, strict=False).missing_keys == ["head.weight", "head.bias"]
    partials = torch.stack([mel[0, :160], mel[0, 41:]])
    output = published_output(network.describe(partials), published["linear.weight"], published["linear.bias"])
    np.testing.assert_allclose(output.numpy(), golden["output"], atol=1e-5)
    assert np.abs(np.diff(golden["output"], axis=0)).max() > 1e-3  # partials that can be told apart


@torch.inference_mode()
def test_ge2e_describes_a_partial_by_its_last_state() -> None:
    """The equations of the LSTM (Hochreiter and Schmidhuber, 1997, with forget gates)."""
    torch.manual_seed(0)
    network = GE2E(mel_bins=5, hidden=7, layers=3)
    state = {name: tensor.numpy().astype(np.float64) for name, tensor in network.state_dict().items()}
    partial = torch.rand(9, 5)
    inputs = partial.numpy().astype(np.float64)
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
    np.testing.assert_allclose(network.describe(partial[None])[0].numpy(), hidden, atol=1e-5)


@torch.inference_mode()
def test_ge2e_averages_partials_by_the_sound_in_them() -> None:
    torch.manual_seed(0)
    network = GE2E(hidden=8).eval()
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
    assert own["head.weight"].shape == (4096, 8) and loaded.part.model["hidden"] == 8
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
    last = {name: one.detach() for name, one in theirs.linear.named_parameters()}
    ours = published_output(loaded.network.describe(partials), **last)
    torch.testing.assert_close(ours, theirs(partials), atol=1e-4, rtol=0)
    assert (ours @ ours.T).min() > 0.6  # one speaker


@torch.inference_mode()
def test_ecapa_and_its_front_end_are_speechbrains(tmp_path: Path) -> None:
    golden = dict(np.load(GOLDENS / "ecapa.npz"))
    sound = torch.from_numpy(clip())[None]
    np.testing.assert_allclose(MelDecibels()(sound)[0, ::8].numpy(), golden["features"], atol=1e-3)  # of +-40 dB
    torch.save(weights_of(golden), tmp_path / "embedding_model.ckpt")
    loaded = load(Part(option="ecapa", modality="speech", weights="random", init=str(tmp_path),
                       model={"_target_": "speech2face.encoders.ecapa.ECAPA"}))  # fmt: skip
    assert loaded.layout == SPEECHBRAIN.name
    features = MelDecibels(mel_bins=20)(sound)[0]
    output = loaded.network.trunk(torch.stack([features[:150], features[51:]]))
    np.testing.assert_allclose(output.numpy(), golden["output"], atol=1e-4 * np.abs(golden["output"]).max())
    assert np.abs(np.diff(golden["output"], axis=0)).max() > 1e-2  # the two can be told apart
    assert loaded.network(features[None, :12]).shape == (1, 4096)


FAMILIES = {"wavlm": "WavLM", "wav2vec2": "Wav2Vec2", "hubert": "Hubert"}
TINY_MODEL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
TINY_MODEL |= {"conv_dim": [8] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}


@torch.inference_mode()
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", ["Model", "ForCTC"])
def test_a_directory_of_transformers_is_the_backbone(tmp_path: Path, family: str, task: str) -> None:
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{FAMILIES[family]}Config")(**TINY_MODEL, feat_extract_norm="layer", vocab_size=9)
    theirs = getattr(transformers, f"{FAMILIES[family]}{task}")(config).eval()
    theirs.save_pretrained(tmp_path)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path)
    base = [
        "encoder=wavlm",
        "encoder.weights=random",
        "decoder=normalized",
        "decoder.weights=random",
        "decoder.model.width=0.02",
    ]
    pipeline = build(*base, f"encoder.init={tmp_path}", "precision=fp32")
    features = pipeline.encoder.prepare(str(SPEECH)).features
    extractor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(tmp_path)
    expected = extractor(features[0].numpy() / 7 + 3, sampling_rate=16_000, return_tensors="pt").input_values
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=0)  # mean and variance were normalised already
    network, alone = pipeline.encoder.network, theirs.base_model
    expected = alone(features[:, :16_000], output_hidden_states=True).hidden_states
    found = network.backbone(features[:, :16_000], output_hidden_states=True).hidden_states
    for ours, one in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, one, atol=1e-4, rtol=0)
    weights = torch.tensor([0.2, 0.5, 0.3])
    network.head.weights.copy_(weights.log())
    pooled = network.head.pooling(sum(w * one for w, one in zip(weights, expected, strict=True)).transpose(1, 2))
    torch.testing.assert_close(network.trunk(features[:, :16_000]), pooled, atol=1e-4, rtol=0)


def test_a_model_of_another_kind_is_refused() -> None:
    with pytest.raises(UserError, match=r"model_type=bert: must be one of wavlm, wav2vec2, hubert"):
        SpeechModel({"model_type": "bert"})


HEARD = {
    "ge2e": (lambda: GE2E(hidden=8), (200, 40)),
    "ecapa": (lambda: ECAPA(20, 8, aggregated=8, scale=4, squeezed=4, attention=4, output=6), (50, 20)),
    "wavlm": (lambda: SpeechModel({"model_type": "wavlm"} | TINY_MODEL, attention=4), (4000,)),
    "ast": (lambda: AudioSpectrogramTransformer(8, 3, 1, 8, max_frames=64, stride=16), (64, 128)),
    "paper": (lambda: PaperEncoder(channels=[4] * 9, hidden=8), (2, 257, 300)),
    "resnet": (lambda: ResNet(18, width=0.125, classes=3), (3, 64, 64)),
}


def changed_by_a_step(network: EncoderNetwork, heard: torch.Tensor, what: str) -> dict[str, bool]:
    """Whether a step of training changes each tensor of a network."""
    batch = {"features": heard, "face": torch.randn(len(heard), 4096), "person": torch.arange(len(heard))}
    training = VoiceTraining(network, {"normalized": 1.0, "contrastive": 1.0}, classes={}, learns=what)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD([one for one in network.parameters() if one.requires_grad], 1e3)
    sum(training.terms(batch, None).values()).backward()
    optimizer.step()
    return {name: not torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("name", HEARD)
def test_every_encoder_learns_what_it_is_told_to(name: str) -> None:
    torch.manual_seed(0)
    build_network, shape = HEARD[name]
    heard, network = torch.rand(4, *shape), build_network()
    assert network(heard).shape == (4, 4096)
    number = len(network.stages())
    for stages in range(number + 1):
        network = build_network()
        names = {tensor.data_ptr(): name for name, tensor in network.state_dict().items()}
        learning = [network.get_submodule(network.head_name), *network.stages()[number - stages :]]
        parts = [{names[tensor.data_ptr()] for tensor in one.state_dict().values()} for one in learning]
        changed = changed_by_a_step(network, heard, f"last:{stages}" if stages else "head")
        assert not {name for name in changed if changed[name]} - set().union(*parts)
        assert all(any(changed[name] for name in part) for part in parts)
    changed = changed_by_a_step(build_network(), heard, "all")
    assert sum(changed.values()) > 0.7 * len(changed) and changed[next(iter(dict(network.named_parameters())))]
    with pytest.raises(ValueError, match=f"has {number} stages"):
        network.learn(f"last:{number + 1}")
