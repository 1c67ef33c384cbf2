"""Speaker encoder of Wan et al., "Generalized End-to-End Loss for Speaker Verification", ICASSP 2018, with a head.

Its published weights are those of the package Resemblyzer, which learnt to tell apart thousands of English speakers.
"""

import torch
from torch import nn

from speech2face.encoders.base import EncoderNetwork, Perceptron
from speech2face.weights.layout import Layout, Tensors, count

FAINT = 1e-3  # frames so far below the mean power of a window, 30 dB, hold no sound


class GE2E(EncoderNetwork):
    """Mel power spectrogram -> embedding: LSTM over partials of 1.6 s, mean over the partials, linear, ReLU.

    A partial is described by the last hidden state of the last layer. Sex and age are told from it better than from the
    published 256-D output, which follows by a linear layer and keeps less. Partials overlap by about a half, and are
    weighted by the share of their frames that hold sound.

    mel_bins: of the input. hidden, layers: of the LSTM. embedding: width of the embedding. partial_frames: length of a
    partial. relu: end in a ReLU. head_hidden: width of the head's hidden layer; 0: the head is linear.
    """

    time_axis = -2

    def __init__(
        self,
        mel_bins: int = 40,
        hidden: int = 256,
        layers: int = 3,
        embedding: int = 4096,
        partial_frames: int = 160,
        relu: bool = True,
        head_hidden: int = 0,
    ) -> None:
        super().__init__()
        self.lstm = nn.ModuleList(nn.LSTM(hidden if i else mel_bins, hidden, batch_first=True) for i in range(layers))
        self.head = Perceptron(hidden, head_hidden, embedding) if head_hidden else nn.Linear(hidden, embedding)
        self.partial_frames, self.relu = partial_frames, relu

    def describe(self, partials: torch.Tensor) -> torch.Tensor:
        """Partials (n, frames, mel_bins) -> the last hidden states of the last layer (n, hidden)."""
        states = partials.float()
        with torch.autocast(partials.device.type, enabled=False):  # many processors have no LSTM in bfloat16
            for layer in self.lstm:
                states, _ = layer(states)
        return states[:, -1]

    def trunk(self, x: torch.Tensor) -> torch.Tensor:
        """Features (batch, frames, mel_bins) -> the input of the head (batch, hidden)."""
        room = max(x.shape[1] - self.partial_frames, 0)
        number = 1 + round(2 * room / self.partial_frames)
        starts = [round(i * room / max(number - 1, 1)) for i in range(number)]
        power = x.sum(-1)
        sound = (power > FAINT * power.mean(1, keepdim=True)).float()
        partials, weights = (
            torch.stack([one[:, start : start + self.partial_frames] for start in starts], 1) for one in (x, sound)
        )
        described = self.describe(partials.flatten(0, 1)).unflatten(0, (x.shape[0], number))
        weights = weights.mean(-1, keepdim=True) + 1e-6  # a window without any sound has a mean, too
        return (described * weights).sum(1) / weights.sum(1)

    def stages(self) -> list[nn.Module]:
        return list(self.lstm)


# Published layout: the package Resemblyzer

MEL_SPECTROGRAM = {
    "_target_": "speech2face.preprocessing.audio.Audio",
    "level_dbfs": -30.0,
    "window_seconds": 6.0,
    "features": {"_target_": "speech2face.preprocessing.mel.MelSpectrogram", "mel_bins": 40},
}


def _architecture(tensors: Tensors) -> dict[str, int]:
    hidden = tensors["lstm.0.weight_hh_l0"].shape[1]
    mel_bins = tensors["lstm.0.weight_ih_l0"].shape[1]
    return {"mel_bins": mel_bins, "hidden": hidden, "layers": count(tensors, r"lstm\.(\d+)\.")}


RESEMBLYZER = Layout(
    name="ge2e (resemblyzer)",
    renames=(
        (r"lstm\.((?:weight|bias)_[ih]h_l)(\d+)", r"lstm.\2.\g<1>0"),
        (r"linear\.(?:weight|bias)", None),  # of the published output
        (r"similarity_(?:weight|bias)", None),  # of the loss
    ),
    needs=("lstm.0.weight_ih_l0", "lstm.0.weight_hh_l0"),
    architecture=_architecture,
    preprocessing=MEL_SPECTROGRAM,
)

GE2E.layouts = (RESEMBLYZER,)
