"""Kaldi-compatible log-mel filter bank: the features of the Audio Spectrogram Transformer."""

import math

import torch
import torch.nn.functional as F

from speech2face.preprocessing.arrays import check_number
from speech2face.preprocessing.fourier import convolve

PREEMPHASIS = 0.97  # Kaldi's


class LogMelFilterBank:
    """Log-mel filter bank, cut or padded to a number of frames and normalised as (x - mean) / (2 std).

    Gong et al., "AST: Audio Spectrogram Transformer", Interspeech 2021, section 2.1. The energies are the
    Kaldi-compatible ones of torchaudio, with a Hann window and without dither.

    mel_bins: number of bands. frame_ms, hop_ms: length of a frame and hop between frames.
    max_frames: number of frames, cut or padded with zeros before the normalisation; None: all frames of the clip.
    mean, std: of the energies of the training set. Raises UserError for arguments out of range.
    """

    version = 1

    def __init__(
        self,
        sample_rate: int = 16_000,
        mel_bins: int = 128,
        frame_ms: float = 25.0,
        hop_ms: float = 10.0,
        max_frames: int | None = 1024,
        mean: float = -5.460994,
        std: float = 3.1129124,
    ) -> None:
        check_number("features.sample_rate", sample_rate, 1000)
        check_number("features.mel_bins", mel_bins, 4)
        check_number("features.frame_ms", frame_ms, 1.0)
        check_number("features.hop_ms", hop_ms, 0.1)
        check_number("features.mean", mean, -math.inf)
        check_number("features.std", std, 1e-6)
        if max_frames is not None:
            check_number("features.max_frames", max_frames, 1)
        self.sample_rate = sample_rate
        self.mel_bins = mel_bins
        self.frame_ms = frame_ms
        self.hop_ms = hop_ms
        self.max_frames = max_frames
        self.mean = mean
        self.std = std

    def samples(self, frames: int) -> int:
        """The least number of samples that gives `frames` frames. If frames are padded, one is enough."""
        frames = 1 if self.max_frames is not None else frames
        return round((self.frame_ms + (frames - 1) * self.hop_ms) * self.sample_rate / 1000)

    @property
    def most_samples(self) -> int | None:
        """The length of the longest window of which no frame is cut; None if there is no limit."""
        if self.max_frames is None:
            return None
        return round((self.frame_ms + self.max_frames * self.hop_ms) * self.sample_rate / 1000) - 1

    def __call__(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> normalised log energies (batch, frames, mel_bins)."""
        from torchaudio.compliance.kaldi import fbank

        if torch.compiler.is_exporting():
            return self._finish(self._as_convolution(waveform))
        energies = torch.stack(
            [
                fbank(
                    clip[None],
                    sample_frequency=self.sample_rate,
                    num_mel_bins=self.mel_bins,
                    frame_length=self.frame_ms,
                    frame_shift=self.hop_ms,
                    window_type="hanning",
                    dither=0.0,
                    use_energy=False,
                )
                for clip in waveform
            ]
        )
        return self._finish(energies)

    def _finish(self, energies: torch.Tensor) -> torch.Tensor:
        if self.max_frames is not None:
            energies = F.pad(energies, (0, 0, 0, self.max_frames - energies.shape[1]))  # a negative pad cuts
        return (energies - self.mean) / (2 * self.std)

    def _as_convolution(self, waveform: torch.Tensor) -> torch.Tensor:
        """The same energies (batch, frames, mel_bins), for a graph: what precedes the transform is linear."""
        from torchaudio.compliance.kaldi import get_mel_banks

        frame, hop = (int(self.sample_rate * ms / 1000) for ms in (self.frame_ms, self.hop_ms))
        size = 1 << (frame - 1).bit_length()
        same = torch.eye(frame, dtype=torch.float64)
        previous = F.one_hot((torch.arange(frame) - 1).clamp(min=0), frame)
        steps = (same - PREEMPHASIS * previous) @ (same - 1 / frame)
        taps = torch.hann_window(frame, periodic=False)[:, None] * steps
        power = convolve(waveform, taps, size, hop).square().sum(1)[:, :-1].transpose(1, 2)
        bands, _ = get_mel_banks(self.mel_bins, size, self.sample_rate, 20.0, 0.0, 100.0, -500.0, 1.0)
        return (power @ bands.T).clamp(min=torch.finfo(torch.float32).eps).log()
