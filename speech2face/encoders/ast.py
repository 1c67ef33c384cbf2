"""Audio Spectrogram Transformer, Gong, Chung and Glass, Interspeech 2021 (arXiv 2104.01778), with a 4096-D head."""

import torch
import torch.nn.functional as F
from torch import nn

PATCH = 16


def patches(size: int, stride: int) -> int:
    """Number of 16-wide patches along an axis of `size`."""
    return (size - PATCH) // stride + 1


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Scaled dot-product attention, (batch, heads, tokens, size) each.

    The fused kernel, but for bfloat16 on a CPU, where plain products take less than half of its time; then as many
    clips at a time as have 16 million scores.
    """
    if query.device.type != "cpu" or query.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(query, key, value)
    clips = max(1, 2**24 // (query.shape[1] * query.shape[2] ** 2))
    parts = zip(query.split(clips), key.split(clips), value.split(clips), strict=True)
    scale = query.shape[-1] ** -0.5
    return torch.cat([(q * scale @ k.transpose(-1, -2)).softmax(-1) @ v for q, k, v in parts])


class Block(nn.Module):
    """Pre-norm transformer block: self-attention and a GELU perceptron, each added to its input."""

    def __init__(self, hidden_size: int, heads: int, mlp_size: int, epsilon: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(hidden_size, eps=epsilon)
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)
        self.norm2 = nn.LayerNorm(hidden_size, eps=epsilon)
        self.fc1 = nn.Linear(hidden_size, mlp_size)
        self.fc2 = nn.Linear(mlp_size, hidden_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, hidden_size) -> the same shape."""
        normed = self.norm1(x)
        query, key, value = (
            layer(normed).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        attended = attention(query, key, value).transpose(1, 2).flatten(2)
        x = x + self.output(attended)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class AudioSpectrogramTransformer(nn.Module):
    """Log-mel filter bank -> face feature: 16 x 16 patches, transformer, mean of its two tokens, norm, linear, ReLU.

    hidden_size, depth, heads, mlp_size: 768, 12, 12, 3072 is base; 384, 12, 6, 1536 small; 192, 12, 3, 768 tiny (DeiT).
    mel_bins, max_frames: the input that the position embeddings are for; stride: of the patches, along both axes.
    relu: end in a ReLU, as the published voice encoder does.
    epsilon: of the layer norms inside; the one before the head has torch's own 1e-5 in the original.
    """

    def __init__(
        self,
        hidden_size: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_size: int = 3072,
        mel_bins: int = 128,
        max_frames: int = 1024,
        stride: int = 10,
        features: int = 4096,
        relu: bool = True,
        epsilon: float = 1e-12,
        head_epsilon: float = 1e-12,
    ) -> None:
        super().__init__()
        self.grid = patches(mel_bins, stride), patches(max_frames, stride)
        self.class_token = nn.Parameter(torch.zeros(1, 1, hidden_size))
        self.distillation_token = nn.Parameter(torch.zeros(1, 1, hidden_size))
        self.position_embeddings = nn.Parameter(torch.zeros(1, 2 + self.grid[0] * self.grid[1], hidden_size))
        nn.init.normal_(self.position_embeddings, std=0.02)
        self.patch_projection = nn.Conv2d(1, hidden_size, PATCH, stride)
        self.blocks = nn.ModuleList(Block(hidden_size, heads, mlp_size, epsilon) for _ in range(depth))
        self.norm = nn.LayerNorm(hidden_size, eps=epsilon)
        self.head_norm = nn.LayerNorm(hidden_size, eps=head_epsilon)
        self.head = nn.Linear(hidden_size, features)
        self.relu = relu

    def positions(self, time_patches: int) -> torch.Tensor:
        """Position embeddings for a clip of another length: (1, 2 + rows * time_patches, hidden_size).

        The first columns for a shorter clip, where they mean the same time; stretched linearly for a longer one.
        """
        rows, columns = self.grid
        if time_patches == columns:
            return self.position_embeddings
        tokens, grid = self.position_embeddings[:, :2], self.position_embeddings[:, 2:]
        grid = grid.unflatten(1, (rows, columns))
        if time_patches < columns:
            grid = grid[:, :, :time_patches]
        else:
            grid = F.interpolate(grid.permute(0, 3, 1, 2), (rows, time_patches), mode="bilinear").permute(0, 2, 3, 1)
        return torch.cat([tokens, grid.flatten(1, 2)], dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, frames, mel_bins) -> (batch, 4096). Raises ValueError for fewer than 16 frames."""
        if x.shape[1] < PATCH:
            raise ValueError(f"{x.shape[1]} frames are too few: the Audio Spectrogram Transformer needs {PATCH}")
        x = self.patch_projection(x.transpose(1, 2).unsqueeze(1))  # (batch, hidden_size, rows, columns)
        tokens = [token.expand(len(x), -1, -1) for token in (self.class_token, self.distillation_token)]
        x = torch.cat([*tokens, x.flatten(2).transpose(1, 2)], dim=1) + self.positions(x.shape[-1])
        for block in self.blocks:
            x = block(x)
        x = self.head(self.head_norm(self.norm(x[:, :2]).mean(dim=1)))
        return F.relu(x) if self.relu else x
