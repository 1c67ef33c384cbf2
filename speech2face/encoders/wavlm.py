"""Self-supervised speech encoders with a 4096-D head: WavLM, wav2vec 2.0 and HuBERT, by the library transformers.

Chen et al., "WavLM", IEEE JSTSP 2022; Baevski et al., "wav2vec 2.0", NeurIPS 2020; Hsu et al., "HuBERT", TASLP 2021.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from speech2face.encoders.base import EncoderNetwork
from speech2face.encoders.ecapa import AttentiveStatistics
from speech2face.errors import UserError
from speech2face.weights.layout import Layout

FAMILIES = ("wavlm", "wav2vec2", "hubert")
# Random numbers that do not follow from the seed of a training; its own augmentation takes their place.
QUIET = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0, "layerdrop": 0.0}


class Head(nn.Module):
    """Weighted sum of the layers (Yang et al., "SUPERB", Interspeech 2021), attentive statistics, linear."""

    def __init__(self, layers: int, width: int, attention: int, embedding: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(layers))
        self.pooling = AttentiveStatistics(width, attention)
        self.linear = nn.Linear(2 * width, embedding)

    def pool(self, layers: torch.Tensor) -> torch.Tensor:
        """Outputs of the layers (layers, batch, frames, width) -> (batch, 2 * width)."""
        mixed = torch.einsum("l,lbtw->bwt", self.weights.softmax(0).to(layers.dtype), layers)
        return self.pooling(mixed)


class SpeechModel(EncoderNetwork):
    """Waveform at 16 kHz -> embedding: a model of transformers, weighted sum of its layers, pooling, linear, ReLU.

    config: of transformers: model_type, one of wavlm, wav2vec2 and hubert, and values that differ from its defaults,
        which are those of the size base. attention: width of the attention of the pooling. embedding: width of the
        embedding. relu: end in a ReLU.

    Raises UserError for another model_type, and if transformers is not installed.
    """

    least_frames = 400  # samples of a frame

    def __init__(self, config: dict[str, Any], attention: int = 128, embedding: int = 4096, relu: bool = True) -> None:
        super().__init__()
        lists = {k: list(v) for k, v in config.items() if isinstance(v, Sequence) and not isinstance(v, str)}
        settings = dict(config) | lists | QUIET  # a configuration has lists of its own kind
        family = settings.pop("model_type", None)
        if family not in FAMILIES:
            raise UserError(f"model.config.model_type={family}: must be one of {', '.join(FAMILIES)}")
        try:
            from transformers import AutoConfig, AutoModel
        except ImportError:
            raise UserError("needs transformers: pip install 'speech2face[transformers]'") from None
        settled = AutoConfig.for_model(family, **settings)
        self.backbone = AutoModel.from_config(settled)
        self.head = Head(settled.num_hidden_layers + 1, settled.hidden_size, attention, embedding)
        self.relu = relu

    @property
    def head_layer(self) -> nn.Linear:
        return self.head.linear

    def trunk(self, x: torch.Tensor) -> torch.Tensor:
        """Waveforms (batch, samples) -> (batch, 2 * hidden_size)."""
        return self.head.pool(torch.stack(self.backbone(x, output_hidden_states=True).hidden_states))

    def stages(self) -> list[nn.Module]:
        return list(self.backbone.encoder.layers)


# Published layout: transformers' models, alone or below a task's layers

WAVEFORM = {
    "_target_": "speech2face.preprocessing.audio.Audio",
    "window_seconds": 6.0,
    "features": {"_target_": "speech2face.preprocessing.waveform.Waveform", "normalize": False},
}
_KEPT = r"(?:(?:wavlm|wav2vec2|hubert)\.)?(feature_extractor|feature_projection|encoder)\.(.+)"
_NORMED = r"(?:(?:wavlm|wav2vec2|hubert)\.)?encoder\.pos_conv_embed\.conv\.weight_([gv])"
LEFT_OUT = ("architectures", "id2label", "label2id", "transformers_version", "torch_dtype", "dtype", "auto_map")


def _from_config(config: dict[str, Any]) -> dict[str, Any]:
    """The network's `config`, from Hugging Face's config.json."""
    return {"config": {k: v for k, v in config.items() if v is not None and k not in LEFT_OUT and k[0] != "_"}}


TRANSFORMERS = Layout(
    name="wavlm, wav2vec 2.0 or hubert (transformers)",
    renames=(
        (
            _NORMED,
            lambda m: f"backbone.encoder.pos_conv_embed.conv.parametrizations.weight.original{'gv'.index(m[1])}",
        ),
        (_KEPT, r"backbone.\1.\2"),
        (r"(?:.+\.)?masked_spec_embed|(?:quantizer|project_q|project_hid|projector|classifier|lm_head)\..+", None),
    ),
    needs=("backbone.feature_projection.projection.weight", "backbone.encoder.layers.0.attention.q_proj.weight"),
    architecture=lambda tensors: {},  # config.json has it
    preprocessing=WAVEFORM,
    config=_from_config,
    extractor=lambda extractor: {"normalize": extractor.get("do_normalize", True)},
)

SpeechModel.layouts = (TRANSFORMERS,)
