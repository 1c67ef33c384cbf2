"""The share of a recording that is speech: by Silero VAD if it is installed, otherwise by how the pitch moves.

The pitch of speech glides within short voiced stretches. Noise has no pitch. The pitch of tones and of instruments is
constant and then jumps. Singing counts as speech.
"""

import importlib.util
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

RATE = 16_000  # sample rate of every waveform in this module, in Hz
LITTLE_SPEECH = 0.2  # a recording with a smaller share of speech gets a warning
LITTLE_SECONDS = 0.5  # a shorter recording gets a warning
HOP, FRAME, SIZE = 160, 640, 1024  # in samples: hop length, frame length, size of the Fourier transform
LAGS = slice(20, 124)  # periods of a voice, 400 to 65 Hz, in samples at 8 kHz
VOICED = 0.65  # least autocorrelation at the period of a voiced frame
QUIET_DB = 25.0  # frames that are this far below the loudest are not voiced
JUMP, GLIDE, STEPS = 1.2, 0.06, 4  # semitones per hop: a jump, a glide; hops over which a glide is measured
STRETCH, STEP = 200, 50  # frames that are judged together, and hop between such stretches
QUORUM = 0.3  # share of the stretches covering a frame that must be speech
MOVING, SUSTAINED, STEADY_DB = 0.055, 0.95, 1.0  # of speech: least gliding, most voiced frames; least level deviation
TOGETHER = 1000  # frames transformed at a time
SILERO_FRAME, CONTEXT = 512, 64  # samples of a frame, and of the previous frame that the network sees, too


def speech_share(waveform: np.ndarray) -> float:
    """The share in [0, 1] of a waveform (samples,) at 16 kHz that is speech. It does not depend on the level."""
    peak = float(np.abs(waveform).max(initial=0.0))
    if len(waveform) < FRAME or not peak > 0:
        return 0.0
    waveform = np.asarray(waveform, np.float32) / peak
    return by_silero(waveform) if silero_weights() else by_pitch(waveform)


def little_speech(seconds: float, share: float) -> str | None:
    """One line that warns of little sound or little speech; None if there is enough.

    seconds: length of the windows that the encoder receives. share: of these windows that is speech.
    """
    if seconds < LITTLE_SECONDS:
        return f"hardly any sound: {seconds:.2f} s"
    return f"hardly any speech: {share:.0%} of what is heard" if share < LITTLE_SPEECH else None


@cache
def silero_weights() -> Path | None:
    """The file of weights in the package silero-vad, or None if it is not installed.

    The package itself is not imported, because the import limits torch to one thread.
    """
    found = importlib.util.find_spec("silero_vad")
    places = (found and found.submodule_search_locations) or []
    weights = [Path(place) / "data" / "silero_vad_16k.safetensors" for place in places]
    return next((file for file in weights if file.exists()), None)


@cache
def _silero() -> "dict[str, torch.Tensor]":
    from safetensors.torch import load_file

    return load_file(silero_weights())


def by_silero(waveform: np.ndarray) -> float:
    """`speech_share` of a waveform with a peak of 1 by Silero VAD 6 (github.com/snakers4/silero-vad)."""
    import torch

    with torch.inference_mode():
        return float(silero_shares(torch.from_numpy(waveform)[None])[0])


def silero_shares(waveforms: "torch.Tensor") -> "torch.Tensor":
    """Waveforms (n, samples) with a peak of 1 -> shares of speech (n,).

    This is the network of tinygrad_model.py in the package silero-vad, applied to all frames at once.
    """
    import torch
    import torch.nn.functional as F

    w, number = _silero(), waveforms.shape[0]
    sound = F.pad(waveforms / 2, (CONTEXT, -waveforms.shape[1] % SILERO_FRAME))
    frames = F.pad(sound.unfold(1, CONTEXT + SILERO_FRAME, SILERO_FRAME), (0, CONTEXT), "reflect")
    real, imaginary = F.conv1d(frames.flatten(0, 1)[:, None], w["stft_conv.weight"], stride=128).chunk(2, dim=1)
    x = (real.square() + imaginary.square()).sqrt()
    for layer, stride in enumerate((1, 2, 2, 1), 1):
        x = F.relu(F.conv1d(x, w[f"conv{layer}.weight"], w[f"conv{layer}.bias"], stride, padding=1))
    gates = [w[f"lstm_cell.{name}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    state = [x.new_zeros(1, number, 128)] * 2
    x, _, _ = torch.lstm(x.view(number, frames.shape[1], 128), state, gates, True, 1, 0.0, False, False, True)
    voice = F.relu(x) @ w["final_conv.weight"].flatten() + w["final_conv.bias"]
    return (voice > 0).float().mean(1)  # a probability above 0.5


def by_pitch(waveform: np.ndarray) -> float:
    """`speech_share` of a waveform by its pitch: in speech, the pitch glides and the level varies within 2 s."""
    strength, pitch, level = (np.concatenate(one) for one in zip(*_pitch(waveform), strict=True))
    loud = np.quantile(level, 0.95)
    level = np.maximum(level, loud - 45)
    voiced = (strength > VOICED) & (level > loud - QUIET_DB)
    follows = voiced[1:] & voiced[:-1] & (np.abs(np.diff(pitch)) < JUMP)
    runs = np.lib.stride_tricks.sliding_window_view(np.pad(follows, (0, STEPS)), STEPS).all(axis=1)[: len(follows)]
    glides = np.zeros(len(pitch), bool)
    slope = np.abs(pitch[STEPS:] - pitch[:-STEPS]) / STEPS
    glides[: len(slope)] = runs[: len(slope)] & (slope > GLIDE)
    votes = np.zeros((2, len(pitch)))  # of all stretches, and of those that are speech
    for start in range(0, max(len(pitch) - STRETCH, 0) + STEP, STEP):
        part = slice(start, start + STRETCH)
        moving = glides[part].sum() > MOVING * max(len(glides[part]), 50)
        speech = moving and voiced[part].mean() < SUSTAINED and level[part].std() > STEADY_DB
        votes[:, part] += [[1], [speech]]
    return float((votes[1] > QUORUM * votes[0]).mean())


def _pitch(waveform: np.ndarray) -> "list[tuple[np.ndarray, np.ndarray, np.ndarray]]":
    """For each frame: autocorrelation at the period (Boersma 1993), pitch in semitones above 1 Hz, level in dB."""
    import torch

    window = np.hanning(FRAME).astype(np.float32)
    own = np.fft.irfft(np.abs(np.fft.rfft(window, SIZE)) ** 2)[::2][: LAGS.stop + 1]
    frames = np.lib.stride_tricks.sliding_window_view(waveform, FRAME)[::HOP]
    found = []
    for start in range(0, len(frames), TOGETHER):
        spectra = torch.fft.rfft(torch.from_numpy(frames[start : start + TOGETHER] * window), SIZE)
        powers = (spectra.real**2 + spectra.imag**2).numpy()
        powers[:, : SIZE * 80 // RATE] = 0
        lags = torch.fft.irfft(torch.from_numpy(powers[:, : SIZE // 4]), SIZE // 2)  # up to 4 kHz: at 8 kHz
        lags = lags[:, : LAGS.stop + 1].numpy()
        lags /= np.maximum(lags[:, :1], 1e-12) * (own / own[0])
        each, best = np.arange(len(lags)), LAGS.start + lags[:, LAGS].argmax(axis=1)
        before, at, after = lags[each, best - 1], lags[each, best], lags[each, best + 1]
        bend = before - 2 * at + after
        shift = np.clip((before - after) / np.where(bend < 0, 2 * bend, -1e9), -0.5, 0.5)
        found.append((at, 12 * np.log2(8000 / (best + shift)), 10 * np.log10(powers.sum(axis=1) + 1e-12)))
    return found
