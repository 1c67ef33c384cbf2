"""Mel spectrograms of speaker encoders: power, as librosa has it, and decibels, as SpeechBrain has them."""

from functools import cached_property

import torch

from speech2face.errors import UserError
from speech2face.preprocessing.fourier import transform


class MelSpectrogram:
    """Power spectrogram in mel bands, without a logarithm, as `librosa.feature.melspectrogram` computes it by default.

    It is the input of Resemblyzer's encoder. The frames are centred, with zeros before and after the clip, and have a
    periodic Hann window. The bands are those of Slaney, "Auditory Toolbox", 1998, each of unit area.

    mel_bins: number of bands. frame_ms, hop_ms: length of a frame, which is also that of the transform, and hop between
    frames.
    """

    version = 1

    def __init__(
        self, sample_rate: int = 16_000, mel_bins: int = 40, frame_ms: float = 25.0, hop_ms: float = 10.0
    ) -> None:
        self.sample_rate, self.mel_bins = sample_rate, mel_bins
        self.frame, self.hop = (round(sample_rate * ms / 1000) for ms in (frame_ms, hop_ms))
        if self.frame < 2 or self.hop < 1:
            raise UserError(f"preprocessing.features: frame_ms={frame_ms} and hop_ms={hop_ms} must be above 0")

    def samples(self, frames: int) -> int:
        """The least number of samples that gives `frames` frames."""
        return max((frames - 1) * self.hop, 1)

    def power(self, waveform: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> power spectrum of the frames (batch, frames, frame / 2 + 1)."""
        return transform(waveform, window, self.frame, self.hop, centered=True).square().sum(1).transpose(1, 2)

    @cached_property
    def bands(self) -> torch.Tensor:
        """The mel bands (frame / 2 + 1, mel_bins)."""
        from torchaudio.functional import melscale_fbanks

        return melscale_fbanks(
            self.frame // 2 + 1, 0.0, self.sample_rate / 2, self.mel_bins, self.sample_rate, "slaney", "slaney"
        )

    def __call__(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> power (batch, frames, mel_bins); 1 + samples / hop frames."""
        return self.power(waveform, torch.hann_window(self.frame)) @ self.bands


class MelDecibels(MelSpectrogram):
    """Mel power spectrogram in dB without its mean over time: SpeechBrain's `Fbank` and `InputNormalization`.

    It is the input of SpeechBrain's ECAPA-TDNN (normalisation of sentences, of the mean only). The frames have a
    periodic Hamming window. A triangular band is as wide above its centre as below. Nothing is more than 80 dB below
    the maximum of a clip.

    Arguments: as those of MelSpectrogram.
    """

    def __init__(
        self, sample_rate: int = 16_000, mel_bins: int = 80, frame_ms: float = 25.0, hop_ms: float = 10.0
    ) -> None:
        super().__init__(sample_rate, mel_bins, frame_ms, hop_ms)

    def __call__(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> dB (batch, frames, mel_bins), each band with a mean of 0; 1 + samples / hop frames."""
        highest = 2595 * torch.log10(torch.tensor(1 + self.sample_rate / 2 / 700)).item()
        edges = 700 * (10 ** (torch.linspace(0, highest, self.mel_bins + 2) / 2595) - 1)
        frequencies = torch.linspace(0, self.sample_rate // 2, self.frame // 2 + 1)[:, None]
        bands = (1 - (frequencies - edges[1:-1]).abs() / edges.diff()[:-1]).clamp(min=0)
        decibels = 10 * (self.power(waveform, torch.hamming_window(self.frame)) @ bands).clamp(min=1e-10).log10()
        decibels = decibels.maximum(decibels.amax((1, 2), keepdim=True) - 80)
        return decibels - decibels.mean(1, keepdim=True)
