"""ECAPA-TDNN of Desplanques, Thienpondt and Demuynck, Interspeech 2020 (arXiv 2005.07143), with a 4096-D head.

Its published weights are those of SpeechBrain, which learnt to tell apart the speakers of VoxCeleb.
"""

import torch
import torch.nn.functional as F
from torch import nn

from speech2face.encoders.base import EncoderNetwork
from speech2face.weights.layout import Layout, Tensors, count

KERNEL, DILATIONS = 3, (2, 3, 4)  # of the blocks with residual connections


class Convolution(nn.Module):
    """Dilated convolution over time, ReLU and batch normalisation ("TDNN block"): (batch, inputs, frames) -> same."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> None:
        super().__init__()
        padding = dilation * (kernel - 1) // 2
        self.conv = nn.Conv1d(inputs, outputs, kernel, dilation=dilation, padding=padding, padding_mode="reflect")
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(F.relu(self.conv(x)))


class Res2Net(nn.Module):
    """Convolutions of groups of channels, each of which also gets the result of the one before (paper, section 3.1)."""

    def __init__(self, channels: int, scale: int, dilation: int) -> None:
        super().__init__()
        self.scale = scale
        width = channels // scale
        self.blocks = nn.ModuleList(Convolution(width, width, KERNEL, dilation) for _ in range(scale - 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, channels, frames) -> the same shape."""
        first, *groups = x.chunk(self.scale, dim=1)
        results = [first]
        for block, group in zip(self.blocks, groups, strict=True):
            results.append(block(group if len(results) == 1 else group + results[-1]))
        return torch.cat(results, dim=1)


class SqueezeExcitation(nn.Module):
    """Scale channels by what their means over time say (paper, section 2.2): (batch, channels, frames) -> same."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(channels, width, 1), nn.Conv1d(width, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.conv2(F.relu(self.conv1(x.mean(2, keepdim=True)))).sigmoid()


class Block(nn.Module):
    """SE-Res2Net block with a residual connection: (batch, channels, frames) -> the same shape."""

    def __init__(self, channels: int, scale: int, squeezed: int, dilation: int) -> None:
        super().__init__()
        self.tdnn1 = Convolution(channels, channels)
        self.res2net_block = Res2Net(channels, scale, dilation)
        self.tdnn2 = Convolution(channels, channels)
        self.se_block = SqueezeExcitation(channels, squeezed)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.se_block(self.tdnn2(self.res2net_block(self.tdnn1(x))))


class AttentiveStatistics(nn.Module):
    """Weighted mean and standard deviation of each channel (paper, section 2.1).

    The weights of the frames depend on the frame and on the mean and deviation of the whole clip.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.tdnn, self.conv = Convolution(3 * channels, width), nn.Conv1d(width, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, channels, frames) -> (batch, 2 * channels)."""
        whole = [one[:, :, None].expand_as(x) for one in statistics(x, torch.full_like(x, 1 / x.shape[2]))]
        weights = self.conv(self.tdnn(torch.cat([x, *whole], dim=1)).tanh()).float().softmax(2)
        return torch.cat(statistics(x, weights), dim=1)


def statistics(x: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted mean and standard deviation over frames. x, weights: (batch, channels, frames)."""
    x = x.float()
    mean = (weights * x).sum(2)
    return mean, (weights * (x - mean[:, :, None]).square()).sum(2).clamp(1e-12).sqrt()


class ECAPA(EncoderNetwork):
    """Log-mel filter bank -> embedding: convolutions over time, attentive statistics, 192-D output, linear, ReLU.

    mel_bins: of the input. channels: of the four convolutional blocks; aggregated: of their aggregation.
    scale: groups of Res2Net. squeezed, attention: widths of the squeeze-excitation and of the attention.
    output: width of the published output. embedding: width of the embedding. relu: end in a ReLU.
    """

    time_axis, least_frames = -2, KERNEL * max(DILATIONS)

    def __init__(
        self,
        mel_bins: int = 80,
        channels: int = 1024,
        aggregated: int = 3072,
        scale: int = 8,
        squeezed: int = 128,
        attention: int = 128,
        output: int = 192,
        embedding: int = 4096,
        relu: bool = True,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Convolution(mel_bins, channels, 5)])
        self.blocks.extend(Block(channels, scale, squeezed, dilation) for dilation in DILATIONS)
        self.mfa = Convolution(len(DILATIONS) * channels, aggregated)
        self.asp = AttentiveStatistics(aggregated, attention)
        self.asp_bn = nn.BatchNorm1d(2 * aggregated)
        self.fc = nn.Linear(2 * aggregated, output)
        self.head = nn.Linear(output, embedding)
        self.relu = relu

    def trunk(self, x: torch.Tensor) -> torch.Tensor:
        """Features (batch, frames, mel_bins) -> (batch, output), whose cosines compare speakers."""
        first, *others = self.blocks
        x = first(x.transpose(1, 2))
        results = []
        for block in others:
            x = block(x)
            results.append(x)
        return self.fc(self.asp_bn(self.asp(self.mfa(torch.cat(results, dim=1)))))

    def stages(self) -> list[nn.Module]:
        return [*self.blocks, nn.ModuleList([self.mfa, self.asp, self.asp_bn, self.fc])]


# Published layout: SpeechBrain's embedding_model.ckpt

FILTER_BANK = {
    "_target_": "speech2face.preprocessing.audio.Audio",
    "window_seconds": 6.0,
    "features": {"_target_": "speech2face.preprocessing.mel.MelDecibels", "mel_bins": 80},
}


def _architecture(tensors: Tensors) -> dict[str, int]:
    channels, mel_bins, _ = tensors["blocks.0.conv.weight"].shape
    return {
        "mel_bins": mel_bins,
        "channels": channels,
        "aggregated": tensors["mfa.conv.weight"].shape[0],
        "scale": 1 + count(tensors, r"blocks\.1\.res2net_block\.blocks\.(\d+)\."),
        "squeezed": tensors["blocks.1.se_block.conv1.weight"].shape[0],
        "attention": tensors["asp.tdnn.conv.weight"].shape[0],
        "output": tensors["fc.weight"].shape[0],
    }


SPEECHBRAIN = Layout(
    name="ecapa (speechbrain)",
    renames=(
        (r"((?:blocks|mfa|asp)\.(?:.+\.)?conv\d?)\.conv\.(.+)", r"\1.\2"),
        (r"((?:blocks|mfa|asp)\.(?:.+\.)?norm)\.norm\.(.+)", r"\1.\2"),
        (r"asp_bn\.norm\.(.+)", r"asp_bn.\1"),
        (r"fc\.conv\.(.+)", r"fc.\1"),
    ),
    needs=("blocks.0.conv.weight", "blocks.1.se_block.conv1.weight", "mfa.conv.weight", "fc.weight"),
    architecture=_architecture,
    convert=lambda tensors: tensors | {"fc.weight": tensors["fc.weight"].flatten(1)},  # a convolution of width 1
    preprocessing=FILTER_BANK,
)

ECAPA.layouts = (SPEECHBRAIN,)
