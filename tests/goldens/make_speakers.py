"""Make the golden files of the pretrained speaker encoders. Needs the packages librosa, speechbrain and resemblyzer.

    pip install librosa; pip install --no-deps resemblyzer speechbrain hyperpyyaml ruamel.yaml
    python tests/goldens/make_speakers.py

Networks are small and have random weights, which the golden files hold: published weights are not in the project.
"""

import sys
import types
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent


def clip(seconds: float = 2.0, rate: int = 16_000) -> np.ndarray:
    """(samples,) float32: a gliding tone with overtones in noise, with a pause in the middle."""
    random = np.random.default_rng(16)
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(150 + 40 * np.sin(3 * time)) / rate
    voiced = sum(np.sin(k * phase) / k for k in range(1, 12)) * (np.abs(time - seconds / 2) > 0.2)
    return (0.05 * voiced + 0.002 * random.normal(size=len(time))).astype(np.float32)


def ge2e() -> dict[str, np.ndarray]:
    """Mel spectrogram and network of Resemblyzer, with an LSTM of 8 units and an output of 6 numbers."""
    import librosa

    sys.modules["resemblyzer"] = package = types.ModuleType("resemblyzer")
    package.__path__ = [str(Path(path) / "resemblyzer") for path in sys.path]
    sys.modules["resemblyzer.audio"] = package.audio = types.ModuleType("resemblyzer.audio")  # wants webrtcvad
    from resemblyzer import voice_encoder

    mel = librosa.feature.melspectrogram(y=clip(), sr=16_000, n_fft=400, hop_length=160, n_mels=40).T
    mel = mel.astype(np.float32)
    network = voice_encoder.VoiceEncoder.__new__(voice_encoder.VoiceEncoder)
    torch.nn.Module.__init__(network)
    torch.manual_seed(0)
    network.lstm = torch.nn.LSTM(40, 8, 3, batch_first=True)
    network.linear, network.relu = torch.nn.Linear(8, 6), torch.nn.ReLU()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    partials = torch.from_numpy(np.stack([mel[:160], mel[41:201]]))
    with torch.inference_mode():
        output = network(partials).numpy()
    return {"mel": mel[::4], "output": output} | {f"weights/{n}": t.numpy() for n, t in network.state_dict().items()}


def ecapa() -> dict[str, np.ndarray]:
    """Filter bank and network of SpeechBrain, with 16 channels, 24 after their aggregation, and an output of 5."""
    from speechbrain.lobes.features import Fbank
    from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
    from speechbrain.processing.features import InputNormalization

    torch.manual_seed(0)
    sizes = {"attention_channels": 6, "res2net_scale": 4, "se_channels": 7, "lin_neurons": 5}
    network = ECAPA_TDNN(20, channels=[16] * 4 + [24], **sizes).eval()
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            torch.nn.init.uniform_(tensor, 0.5, 2) if "running_var" in name else torch.nn.init.normal_(tensor, std=0.3)
    normalize = InputNormalization(norm_type="sentence", std_norm=False)
    found: dict[str, np.ndarray] = {}
    with torch.inference_mode():
        for bins in (80, 20):
            features = Fbank(n_mels=bins)(torch.from_numpy(clip())[None])
            found[f"features{bins}"] = normalize(features, torch.ones(1))[0].numpy()
        inputs = torch.from_numpy(found.pop("features20"))
        found["output"] = network(torch.stack([inputs[:150], inputs[51:]]))[:, 0].numpy()
    found["features"] = found.pop("features80")[::8]
    return found | {f"weights/{name}": tensor.numpy() for name, tensor in network.state_dict().items()}


if __name__ == "__main__":
    np.savez_compressed(HERE / "ge2e.npz", **ge2e())
    np.savez_compressed(HERE / "ecapa.npz", **ecapa())
