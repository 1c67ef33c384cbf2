"""Parts from outside the package, as a user would write them: an encoder of waveforms, a decoder that samples."""

from collections.abc import Sequence

import torch
from torch import nn

from speech2face.decoders.base import DecoderNetwork
from speech2face.encoders.base import EncoderNetwork


class RawVoice(EncoderNetwork):
    """Waveforms (batch, samples) -> (batch, 4096)."""

    least_frames = 400

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.Conv1d(1, 16, 400, 160)
        self.head = nn.Linear(16, 4096)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.filters(x[:, None]).relu().mean(-1))


class Sampler(DecoderNetwork):
    """Draws 80 x 96 pixels without landmarks: one colour, and samples around it."""

    draws_samples = True

    def __init__(self) -> None:
        super().__init__()
        self.colour = nn.Linear(4096, 3)

    def forward(self, embeddings: torch.Tensor) -> tuple[None, torch.Tensor]:
        return None, self.colour(embeddings).sigmoid()[:, :, None, None].expand(-1, -1, 80, 96)

    def sample(
        self, embeddings: torch.Tensor, count: int, generators: Sequence[torch.Generator]
    ) -> tuple[None, torch.Tensor, torch.Tensor]:
        noise = torch.stack([torch.randn(count, 3, generator=one, device=one.device) for one in generators])
        colours = (self.colour(embeddings)[:, None] + noise).sigmoid()
        return None, colours[..., None, None].expand(-1, -1, -1, 80, 96), -noise.square().sum(2)
