"""Compressed complex spectrogram: the features of the paper's voice encoder, as in the paper and as published."""

import torch
import torch.nn.functional as F

from speech2face.errors import UserError
from speech2face.preprocessing.arrays import check_number
from speech2face.preprocessing.fourier import transform

REPRESENTATIONS = ("real_imaginary", "magnitude_phase")


class Spectrogram:
    """Short-time Fourier transform as two channels, each compressed as sgn(x) |x|**power.

    representation: "real_imaginary" as in the paper (Oh et al., CVPR 2019, section 3 and supplementary material), or
        "magnitude_phase" (phase in radians) as in the published implementation.
    n_fft, win_length, hop_length: in samples. The window is a periodic Hann window.
    centered: True pads the clip with n_fft / 2 zeros at both ends and centres the window in the transform, so that 6 s
        at 16 kHz give 601 frames. False starts at the first sample and pads the window with zeros at its end, which
        gives 598 frames.
    power: exponent of the compression. Raises UserError for arguments out of range.
    """

    version = 1

    def __init__(
        self,
        representation: str = "real_imaginary",
        n_fft: int = 512,
        win_length: int = 400,
        hop_length: int = 160,
        centered: bool = False,
        power: float = 0.3,
    ) -> None:
        if representation not in REPRESENTATIONS:
            raise UserError(
                f"preprocessing.features.representation={representation}: must be one of {', '.join(REPRESENTATIONS)}"
            )
        for option, value in (("n_fft", n_fft), ("win_length", win_length), ("hop_length", hop_length)):
            check_number(f"features.{option}", value, 1)
        check_number("features.power", power, 0.0)
        if win_length > n_fft:
            raise UserError(f"preprocessing.features.win_length={win_length}: must be at most n_fft={n_fft}")
        self.representation = representation
        self.n_fft = n_fft
        self.win_length = win_length
        self.hop_length = hop_length
        self.centered = centered
        self.power = power

    def samples(self, frames: int) -> int:
        """The least number of samples that gives `frames` frames."""
        return max((frames - 1) * self.hop_length + (0 if self.centered else self.win_length), 1)

    def __call__(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, 2, n_fft / 2 + 1, frames)."""
        window = torch.hann_window(self.win_length)
        if not self.centered:
            zeros = self.n_fft - self.win_length
            window, waveform = F.pad(window, (0, zeros)), F.pad(waveform, (0, zeros))
        channels = transform(waveform, window, self.n_fft, self.hop_length, self.centered)
        if self.representation == "magnitude_phase":
            real, imaginary = channels.unbind(1)
            magnitude = (real.square() + imaginary.square()).sqrt()
            channels = torch.stack([magnitude, torch.atan2(imaginary, real)], dim=1)
        return channels.sign() * channels.abs() ** self.power
