"""Raw samples: the features of encoders that take waveforms."""

import torch


class Waveform:
    """Returns the windows as samples at the front end's level.

    normalize: give every window a mean of 0 and a variance of 1, as transformers' feature extractor of wav2vec 2.0.
    """

    version = 1

    def __init__(self, normalize: bool = False) -> None:
        self.normalize = normalize

    def samples(self, frames: int) -> int:
        """The number of frames: a frame is a sample."""
        return frames

    def __call__(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, samples)."""
        if not self.normalize:
            return waveform
        centred = waveform - waveform.mean(1, keepdim=True)
        return centred / (centred.square().mean(1, keepdim=True) + 1e-7).sqrt()
