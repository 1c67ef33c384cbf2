"""Raw samples: the features of encoders that take waveforms."""

import torch


class Waveform:
    """Returns the windows unchanged, as samples at the front end's level."""

    version = 1

    def samples(self, frames: int) -> int:
        """The number of frames: a frame is a sample."""
        return frames

    def __call__(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, samples)."""
        return waveform
