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


if __name__ == "__main__":
    np.savez_compressed(HERE / "ge2e.npz", **ge2e())
