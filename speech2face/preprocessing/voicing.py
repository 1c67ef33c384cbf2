"""The share of windows that is speech, in tensors alone, for a graph, as in speech2face.preprocessing.speech."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from speech2face.preprocessing import speech
from speech2face.preprocessing.fourier import convolve


def speech_share(windows: torch.Tensor) -> torch.Tensor:
    """Windows (n, samples) at 16 kHz -> shares of speech (n,) in [0, 1]. All windows have one fixed length."""
    windows = windows / windows.abs().amax(1, keepdim=True).clamp(min=1e-9)
    return speech.silero_shares(windows) if speech.silero_weights() else by_pitch(windows)


def by_pitch(windows: torch.Tensor) -> torch.Tensor:
    """`speech_share` of windows with a peak of 1 by their pitch."""
    strength, pitch, level = _pitch(windows)
    frames, steps = level.shape[1], speech.STEPS
    place = 0.95 * (frames - 1)  # of the quantile, between two of the sorted levels
    low, high = level.sort(1).values[:, math.floor(place) :][:, :2].unbind(1)
    loud = (low + (place % 1) * (high - low))[:, None]
    level = level.maximum(loud - 45)
    voiced = (strength > speech.VOICED) & (level > loud - speech.QUIET_DB)
    follows = voiced[:, 1:] & voiced[:, :-1] & ((pitch[:, 1:] - pitch[:, :-1]).abs() < speech.JUMP)
    glides = (pitch[:, steps:] - pitch[:, :-steps]).abs() / steps > speech.GLIDE
    for step in range(steps):
        glides = glides & follows[:, step : frames - steps + step]
    glides = F.pad(glides.float(), (0, steps))
    covered, found = torch.zeros(frames), torch.zeros_like(level)
    for start in range(0, max(frames - speech.STRETCH, 0) + speech.STEP, speech.STEP):
        stop = min(start + speech.STRETCH, frames)
        moving = glides[:, start:stop].sum(1) > speech.MOVING * max(stop - start, 50)
        spoken = voiced[:, start:stop].float().mean(1) < speech.SUSTAINED
        unsteady = level[:, start:stop].std(1, correction=0) > speech.STEADY_DB
        stretch = F.pad(torch.ones(stop - start), (start, frames - stop))
        covered = covered + stretch
        found = found + (moving & spoken & unsteady).float()[:, None] * stretch
    return (found > speech.QUORUM * covered).float().mean(1)


def _pitch(windows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """For each frame, (n, frames): autocorrelation at the period, pitch in semitones above 1 Hz, level in dB."""
    lags, size = speech.LAGS, speech.SIZE
    window = np.hanning(speech.FRAME).astype(np.float32)
    own = np.fft.irfft(np.abs(np.fft.rfft(window, size)) ** 2)[::2][: lags.stop + 1]
    lowest = size * 80 // speech.RATE
    powers = convolve(windows, torch.from_numpy(window), size, speech.HOP).square().sum(1)[:, lowest:]
    bins, at = np.arange(lowest, size // 4), np.arange(lags.stop + 1)
    back = 4 / size * np.cos(4 * math.pi / size * bins[:, None] * at)  # to lags at 8 kHz
    found = powers[:, : len(bins)].transpose(1, 2) @ torch.from_numpy(back.astype(np.float32))
    found = found / (found[..., :1].clamp(min=1e-12) * torch.from_numpy((own / own[0]).astype(np.float32)))
    best = lags.start + found[..., lags].argmax(-1, keepdim=True)
    before, peak, after = (found.gather(2, best + step)[..., 0] for step in (-1, 0, 1))
    bend = before - 2 * peak + after
    shift = ((before - after) / torch.where(bend < 0, 2 * bend, -1e9)).clamp(-0.5, 0.5)
    pitch = 12 * torch.log2(8000 / (best[..., 0] + shift))
    return peak, pitch, 10 * torch.log10(powers.sum(1) + 1e-12)
