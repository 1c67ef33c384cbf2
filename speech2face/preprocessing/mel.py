"""Mel power spectrogram as librosa computes it: the features of the GE2E speaker encoder."""

import torch

from speech2face.errors import UserError


class MelSpectrogram:
    """Power spectrogram in mel bands, without a logarithm, as `librosa.feature.melspectrogram` computes it by default.

    The frames are centred, with zeros before and after the clip, and have a periodic Hann window. The bands are those
    of Slaney, "Auditory Toolbox", 1998, each of unit area.

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

    def __call__(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> power (batch, frames, mel_bins); 1 + samples / hop frames."""
        from torchaudio.functional import melscale_fbanks

        window = torch.hann_window(self.frame)
        spectrum = torch.stft(
            waveform, self.frame, self.hop, window=window, center=True, pad_mode="constant", return_complex=True
        )
        bands = melscale_fbanks(
            self.frame // 2 + 1, 0.0, self.sample_rate / 2, self.mel_bins, self.sample_rate, "slaney", "slaney"
        )
        return spectrum.abs().square().transpose(1, 2) @ bands
