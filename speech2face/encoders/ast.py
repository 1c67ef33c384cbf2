"""Audio Spectrogram Transformer of Gong, Chung and Glass, Interspeech 2021 (arXiv 2104.01778), with a 4096-D head."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from speech2face.encoders.base import EncoderNetwork
from speech2face.errors import UserError
from speech2face.weights.layout import Layout, Tensors, count

PATCH = 16


def patches(size: int, stride: int) -> int:
    """Number of patches, 16 wide, along an axis of length `size`."""
    return (size - PATCH) // stride + 1


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Scaled dot-product attention. query, key, value and the result: (batch, heads, tokens, size).

    For bfloat16 on a CPU, plain products take less than half the time of the fused kernel. They are computed for as
    many clips at a time as have 16 million scores.
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


class AudioSpectrogramTransformer(EncoderNetwork):
    """Log-mel filter bank -> embedding: 16 x 16 patches, transformer, mean of its two tokens, norm, linear, ReLU.

    hidden_size, depth, heads, mlp_size: DeiT's sizes are 768, 12, 12, 3072 (base), 384, 12, 6, 1536 (small) and
        192, 12, 3, 768 (tiny).
    mel_bins, max_frames: size of the input that the position embeddings cover. stride: of the patches on both axes.
    embedding: width of the embedding. relu: end in a ReLU, as the published voice encoder does.
    epsilon: of the layer norms. head_epsilon: of the layer norm before the head, which is 1e-5 in the original.
    """

    time_axis, least_frames = -2, PATCH

    def __init__(
        self,
        hidden_size: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_size: int = 3072,
        mel_bins: int = 128,
        max_frames: int = 1024,
        stride: int = 10,
        embedding: int = 4096,
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
        self.head = nn.Linear(hidden_size, embedding)
        self.relu = relu

    def positions(self, time_patches: int) -> torch.Tensor:
        """Position embeddings for a clip of any length: (1, 2 + rows * time_patches, hidden_size).

        A shorter clip uses the first columns, which belong to the same times. For a longer clip the columns are
        interpolated linearly.
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

    def trunk(self, x: torch.Tensor) -> torch.Tensor:
        """Features (batch, frames, mel_bins) -> (batch, hidden_size). Raises ValueError below 16 frames."""
        if x.shape[1] < self.least_frames:
            raise ValueError(f"{x.shape[1]} frames are too few: the Audio Spectrogram Transformer needs {PATCH}")
        x = self.patch_projection(x.transpose(1, 2).unsqueeze(1))  # (batch, hidden_size, rows, columns)
        tokens = [token.expand(x.shape[0], -1, -1) for token in (self.class_token, self.distillation_token)]
        x = torch.cat([*tokens, x.flatten(2).transpose(1, 2)], dim=1) + self.positions(x.shape[-1])
        for block in self.blocks:
            x = block(x)
        return self.head_norm(self.norm(x[:, :2]).mean(dim=1))

    def stages(self) -> list[nn.Module]:
        return [*self.blocks[:-1], nn.ModuleList([self.blocks[-1], self.norm, self.head_norm])]


# Published layouts: transformers 4 and 5, and the original repository

FILTER_BANK = {
    "_target_": "speech2face.preprocessing.audio.Audio",
    "window_seconds": 10.26,
    "features": {
        "_target_": "speech2face.preprocessing.fbank.LogMelFilterBank",
        "mean": -5.460994,
        "std": 3.1129124,
    },
}


def _architecture(tensors: Tensors) -> dict[str, int]:
    hidden_size = tensors["class_token"].shape[-1]
    columns = (tensors["position_embeddings"].shape[1] - 2) // 12  # 128 mel bins have 12 rows of patches
    return {
        "hidden_size": hidden_size,
        "depth": count(tensors, r"blocks\.(\d+)\."),
        "heads": hidden_size // 64,  # in every published size
        "mlp_size": tensors["blocks.0.fc1.weight"].shape[0],
        "max_frames": 1024 if columns == 101 else 16 + 10 * (columns - 1),
    }


def _split_attention(tensors: Tensors) -> Tensors:
    """Split the original's joint tensor of query, key and value into views."""
    split: Tensors = {}
    for name, tensor in tensors.items():
        if ".qkv." in name:
            split |= {
                name.replace("qkv", k): t for k, t in zip(("query", "key", "value"), tensor.chunk(3), strict=True)
            }
        else:
            split[name] = tensor
    return split


_V = r"(?:audio_spectrogram_transformer\.)?"
_V4 = _V + r"encoder\.layer\.(\d+)\."
_V5 = _V + r"layers\.(\d+)\."
_LETTERS = {"q": "query", "k": "key", "v": "value", "o": "output"}


def _from_config(config: dict[str, Any]) -> dict[str, Any]:
    """What tensors do not show, from Hugging Face's config.json. Raises UserError for what is not supported."""
    if config.get("hidden_act", "gelu") != "gelu":
        raise UserError(f"config.json: hidden_act={config['hidden_act']} is not supported, only gelu")
    strides = {config.get(name, 10) for name in ("frequency_stride", "time_stride")}
    if len(strides) > 1 or config.get("patch_size", 16) != 16:
        raise UserError("config.json: only patches of 16 with one stride in both directions are supported")
    names = {"num_attention_heads": "heads", "num_mel_bins": "mel_bins", "max_length": "max_frames"}
    brought = {ours: config[theirs] for theirs, ours in names.items() if theirs in config}
    epsilon = config.get("layer_norm_eps", 1e-12)
    return brought | {"stride": strides.pop(), "epsilon": epsilon, "head_epsilon": epsilon}


def _from_extractor(extractor: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the filter bank, from Hugging Face's preprocessor_config.json."""
    names = {"mean": "mean", "std": "std", "num_mel_bins": "mel_bins", "max_length": "max_frames"}
    brought = {ours: extractor[theirs] for theirs, ours in names.items() if theirs in extractor}
    if extractor.get("do_normalize") is False:
        brought |= {"mean": 0.0, "std": 0.5}  # (x - mean) / (2 std) is then x
    return brought


TRANSFORMERS = Layout(
    name="ast (transformers)",
    renames=(
        (_V + r"embeddings\.cls_token", "class_token"),
        (_V + r"embeddings\.distillation_token", "distillation_token"),
        (_V + r"embeddings\.position_embeddings", "position_embeddings"),
        (_V + r"embeddings\.patch_embeddings\.projection\.(.+)", r"patch_projection.\1"),
        (_V4 + r"attention\.attention\.(query|key|value)\.(.+)", r"blocks.\1.\2.\3"),
        (_V4 + r"attention\.output\.dense\.(.+)", r"blocks.\1.output.\2"),
        (_V4 + r"intermediate\.dense\.(.+)", r"blocks.\1.fc1.\2"),
        (_V4 + r"output\.dense\.(.+)", r"blocks.\1.fc2.\2"),
        (_V5 + r"attention\.([qkvo])_proj\.(.+)", lambda m: f"blocks.{m[1]}.{_LETTERS[m[2]]}.{m[3]}"),
        (_V5 + r"mlp\.(fc[12])\.(.+)", r"blocks.\1.\2.\3"),
        (rf"(?:{_V4}|{_V5})layernorm_before\.(.+)", lambda m: f"blocks.{m[1] or m[2]}.norm1.{m[3]}"),
        (rf"(?:{_V4}|{_V5})layernorm_after\.(.+)", lambda m: f"blocks.{m[1] or m[2]}.norm2.{m[3]}"),
        (_V + r"layernorm\.(.+)", r"norm.\1"),
        (r"classifier\.(?:0\.)?layernorm\.(.+)", r"head_norm.\1"),
        (r"classifier\.(?:0\.)?dense\.(.+)", r"head.\1"),
    ),
    needs=("class_token", "position_embeddings", "blocks.0.query.weight", "blocks.0.fc1.weight"),
    architecture=_architecture,
    preprocessing=FILTER_BANK,
    config=_from_config,
    extractor=_from_extractor,
)

ORIGINAL = Layout(
    name="ast (original repository)",
    renames=(
        (r"v\.cls_token", "class_token"),
        (r"v\.dist_token", "distillation_token"),
        (r"v\.pos_embed", "position_embeddings"),
        (r"v\.patch_embed\.proj\.(.+)", r"patch_projection.\1"),
        (r"v\.blocks\.(\d+)\.attn\.qkv\.(.+)", r"blocks.\1.qkv.\2"),
        (r"v\.blocks\.(\d+)\.attn\.proj\.(.+)", r"blocks.\1.output.\2"),
        (r"v\.blocks\.(\d+)\.mlp\.(fc[12])\.(.+)", r"blocks.\1.\2.\3"),
        (r"v\.blocks\.(\d+)\.(norm[12])\.(.+)", r"blocks.\1.\2.\3"),
        (r"v\.norm\.(.+)", r"norm.\1"),
        (r"v\.head(?:_dist)?\..+", None),  # unused head of the image transformer that it started from
        (r"mlp_head\.0\.(.+)", r"head_norm.\1"),
        (r"mlp_head\.1\.(.+)", r"head.\1"),
    ),
    needs=("class_token", "position_embeddings", "blocks.0.qkv.weight", "blocks.0.fc1.weight"),
    # the original's layer norms are those of the image transformer; the one before the head has torch's default
    architecture=lambda tensors: _architecture(tensors) | {"epsilon": 1e-6, "head_epsilon": 1e-5},
    convert=_split_attention,
    preprocessing=FILTER_BANK,
)

AudioSpectrogramTransformer.layouts = (TRANSFORMERS, ORIGINAL)
