"""Windows as they are: the input of encoders that take raw waveforms."""

import torch


class Waveform:
    """(windows, samples) -> the same: samples at the front end's level."""

    version = 1

    def samples(self, frames: int) -> int:
        """Frames are samples."""
        return frames

    def __call__(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, samples)."""
        return waveform
