"""The short-time Fourier transform that front ends share, in a form that every program can run, too."""

import math

import torch
import torch.nn.functional as F


def transform(waveform: torch.Tensor, window: torch.Tensor, size: int, hop: int, centered: bool) -> torch.Tensor:
    """Short-time Fourier transform: (batch, samples) -> real and imaginary part (batch, 2, size / 2 + 1, frames).

    window: (n,) with n <= size; it lies in the middle of the transform. size, hop: in samples. centered: pad the clip
    with size / 2 zeros at both ends.
    """
    if torch.compiler.is_exporting():
        before = (size - len(window)) // 2
        whole = F.pad(window, (before, size - len(window) - before))
        return convolve(waveform, whole, size, hop, size // 2 if centered else 0)
    complex_numbers = torch.stft(
        waveform, size, hop, len(window), window, center=centered, pad_mode="constant", return_complex=True
    )
    return torch.view_as_real(complex_numbers).movedim(-1, 1)


def convolve(waveform: torch.Tensor, taps: torch.Tensor, size: int, hop: int, padding: int = 0) -> torch.Tensor:
    """The Fourier transform of `size` of frames, as a convolution with fixed waves; see `transform`.

    taps: (n,), a window, or (n, m), a linear map of a frame of m samples to n values. padding: zeros at both ends.
    Exporters of graphs disagree about Fourier transforms and agree about convolutions.
    """
    frequencies, times = torch.arange(size // 2 + 1)[:, None], torch.arange(taps.shape[0])
    turns = (frequencies * times % size).double() / size  # exact where a wave is 0
    waves = torch.cat([torch.cos(2 * math.pi * turns), -torch.sin(2 * math.pi * turns)])
    waves = torch.where(waves.abs() < 1e-12, 0.0, waves)
    kernels = waves * taps if taps.ndim == 1 else waves @ taps.double()
    found = F.conv1d(waveform[:, None], kernels.float()[:, None], stride=hop, padding=padding)
    return found.unflatten(1, (2, size // 2 + 1))
