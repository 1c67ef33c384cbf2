"""The published checkpoint layouts: how to recognise each by its tensors, and what belongs to it.

Facts of the published systems: see the table "Published weights" in the README.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

Tensors = dict[str, torch.Tensor]
Renames = tuple[tuple[str, str | Callable[[re.Match], str] | None], ...]

SPEECH = {"_target_": "speech2face.preprocessing.audio.Audio"}
PUBLISHED_SPECTROGRAM = {
    **SPEECH,
    "window_seconds": 6.0,
    "features": {
        "_target_": "speech2face.preprocessing.spectrogram.Spectrogram",
        "representation": "magnitude_phase",
        "centered": True,
    },
}
PUBLISHED_FBANK = {
    **SPEECH,
    "window_seconds": 10.26,
    "features": {
        "_target_": "speech2face.preprocessing.fbank.LogMelFilterBank",
        "mean": -5.460994,
        "std": 3.1129124,
    },
}
PHOTO = {"_target_": "speech2face.preprocessing.image.Image", "channel_order": "rgb", "scale": 1.0}
WHOLE_PHOTO = {**PHOTO, "crop": "none", "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
# As Keras's VGG-Face was trained; on faces cut out, so that the crop stays as configured.
BGR_PHOTO = {**PHOTO, "channel_order": "bgr", "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
IMAGENET_PHOTO = {**PHOTO, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


@dataclass
class Layout:
    """A published layout.

    renames: (pattern, replacement) of whole tensor names; None drops the tensor. All tensors must match one.
    needs: names, after renaming, without which it is not this layout, or not all of it.
    architecture: renamed tensors -> arguments of the model. convert: renamed tensors -> the model's.
    """

    name: str
    target: str
    renames: Renames
    needs: tuple[str, ...]
    architecture: Callable[[Tensors], dict[str, Any]]
    convert: Callable[[Tensors], Tensors] = field(default=lambda tensors: tensors)
    preprocessing: dict[str, Any] | None = None

    def rename(self, tensors: Tensors) -> Tensors | None:
        """The tensors under the model's names, or None where one is none of this layout's."""
        renamed: Tensors = {}
        for name, tensor in tensors.items():
            for pattern, replacement in self.renames:
                match = re.fullmatch(pattern, name)
                if match:
                    if replacement is not None:
                        renamed[match.expand(replacement) if isinstance(replacement, str) else replacement(match)] = (
                            tensor
                        )
                    break
            else:
                return None
        return renamed


def _count(tensors: Tensors, pattern: str) -> int:
    return len({match[1] for name in tensors if (match := re.match(pattern, name))})


# Voice encoder of the article as published in PyTorch ("ve_conv")


def _paper_architecture(tensors: Tensors) -> dict[str, Any]:
    channels = [tensors[f"convolutions.{i}.weight"].shape[0] for i in range(9)]
    return {"channels": channels, "hidden": tensors["hidden.weight"].shape[0]}


PAPER = Layout(
    name="ve_conv",
    target="speech2face.encoders.paper.PaperEncoder",
    renames=(
        (r"layer([1-9])\.0\.(weight|bias)", lambda m: f"convolutions.{int(m[1]) - 1}.{m[2]}"),
        (r"layer(?:([1-8])\.2|(9)\.3)\.(.+)", lambda m: f"norms.{int(m[1] or m[2]) - 1}.{m[3]}"),
        (r"layer10\.1\.(.+)", r"hidden.\1"),
        (r"layer11\.0\.(.+)", r"output.\1"),
    ),
    needs=(*tuple(f"convolutions.{i}.weight" for i in range(9)), "hidden.weight", "output.weight"),
    architecture=_paper_architecture,
    preprocessing=PUBLISHED_SPECTROGRAM,
)

# Audio Spectrogram Transformer in its three namings


def _ast_architecture(tensors: Tensors) -> dict[str, Any]:
    hidden_size = tensors["class_token"].shape[-1]
    columns = (tensors["position_embeddings"].shape[1] - 2) // 12  # 12 rows of patches from 128 mel bins
    return {
        "hidden_size": hidden_size,
        "depth": _count(tensors, r"blocks\.(\d+)\."),
        "heads": hidden_size // 64,  # as in every published size
        "mlp_size": tensors["blocks.0.fc1.weight"].shape[0],
        "max_frames": 1024 if columns == 101 else 16 + 10 * (columns - 1),
    }


def _split_attention(tensors: Tensors) -> Tensors:
    """Query, key and value, which the original keeps in one tensor: views of it."""
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

TRANSFORMERS_AST = Layout(
    name="ast (transformers)",
    target="speech2face.encoders.ast.AudioSpectrogramTransformer",
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
    architecture=_ast_architecture,
    preprocessing=PUBLISHED_FBANK,
)

ORIGINAL_AST = Layout(
    name="ast (original repository)",
    target=TRANSFORMERS_AST.target,
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
        (r"v\.head(?:_dist)?\..+", None),  # of the image transformer that it began as; never used
        (r"mlp_head\.0\.(.+)", r"head_norm.\1"),
        (r"mlp_head\.1\.(.+)", r"head.\1"),
    ),
    needs=("class_token", "position_embeddings", "blocks.0.qkv.weight", "blocks.0.fc1.weight"),
    # the original's layer norms are the image transformer's, and torch's own before the head
    architecture=lambda tensors: _ast_architecture(tensors) | {"epsilon": 1e-6, "head_epsilon": 1e-5},
    convert=_split_attention,
    preprocessing=PUBLISHED_FBANK,
)

# VGG-Face: of two authors, as Keras .h5 and as converted ("vggface_serengil", "vggface16_rcmalli")

_VGG_LAYERS = [f"blocks.{block}.{i}" for block, convolutions in enumerate((2, 2, 3, 3, 3)) for i in range(convolutions)]
_VGG_LAYERS += ["fc6", "fc7", "fc8"]


def _vgg_name(match: re.Match) -> str:
    return f"{_VGG_LAYERS[int(match[1]) - 1]}.{match[2]}"


def _vgg_architecture(tensors: Tensors) -> dict[str, Any]:
    blocks = [[n, tensors[f"blocks.{block}.0.bias"].shape[0]] for block, n in enumerate((2, 2, 3, 3, 3))]
    return {"blocks": blocks, "hidden": tensors["fc6.bias"].shape[0], "classes": tensors["fc8.bias"].shape[0]}


def _from_keras(tensors: Tensors) -> Tensors:
    """Kernels (rows, columns, inputs, outputs) -> convolutions' (outputs, inputs, rows, columns), linear layers' views.

    Linear layers still take row, column, channel: the model's flatten="channels_last".
    """
    converted: Tensors = {}
    for name, tensor in tensors.items():
        if name.endswith("weight"):
            tensor = tensor.flatten(0, -2).T if name.startswith("fc") else tensor.permute(3, 2, 0, 1).contiguous()
        converted[name] = tensor
    return converted


VGG_FACE = Layout(
    name="vggface (serengil or rcmalli, converted)",
    target="speech2face.encoders.vgg_face.VGGFace",
    renames=((r"layer([1-9]|1[0-6])\.[01]\.(weight|bias)", _vgg_name),),
    needs=tuple(f"{layer}.weight" for layer in _VGG_LAYERS),
    architecture=_vgg_architecture,
    # One of the two keeps its last three layers as convolutions over all that is left of the photo: the same numbers.
    convert=lambda tensors: {n: t.flatten(1) if n.startswith("fc") and t.ndim == 4 else t for n, t in tensors.items()},
    preprocessing=WHOLE_PHOTO,
)
RCMALLI_VGG_FACE = replace(
    VGG_FACE,
    name="vggface (rcmalli, Keras)",
    renames=(
        (r"layer([1-9]|1[0-3])\.convolution\.(weight|bias)", _vgg_name),
        (r"layer(1[4-6])\.dense\.(weight|bias)", _vgg_name),
    ),
    architecture=lambda tensors: _vgg_architecture(tensors) | {"flatten": "channels_last"},
    convert=_from_keras,
    preprocessing=BGR_PHOTO | {"scale": 255.0, "mean": [93.5940, 104.7624, 129.1863]},
)
SERENGIL_VGG_FACE = replace(
    RCMALLI_VGG_FACE,
    name="vggface (serengil, Keras)",
    renames=((r"layer([1-9]|1[0-6])\.convolution\.(weight|bias)", _vgg_name),),
    preprocessing=BGR_PHOTO,
)

# torchvision's residual networks, with a last layer of 4096


def _resnet_architecture(tensors: Tensors) -> dict[str, Any]:
    blocks = _count(tensors, r"network\.layer3\.(\d+)\.")
    bottleneck = "network.layer1.0.conv3.weight" in tensors
    return {
        "depth": {(2, False): 18, (6, False): 34, (6, True): 50, (23, True): 101, (36, True): 152}[blocks, bottleneck]
    }


RESNET = Layout(
    name="resnet (torchvision)",
    target="speech2face.encoders.resnet.ResNet",
    renames=((r"((?:conv1|bn1|fc|layer[1-4]\.\d+\.(?:conv\d|bn\d|downsample\.[01]))\..+)", r"network.\1"),),
    needs=(
        "network.conv1.weight",
        "network.layer1.0.conv1.weight",
        "network.layer4.1.conv1.weight",
        "network.fc.weight",
    ),
    architecture=_resnet_architecture,
    preprocessing=IMAGENET_PHOTO,
)

# Face decoder as published in PyTorch


def _decoder_architecture(tensors: Tensors) -> dict[str, Any]:
    return {"width": tensors["trunk.0.weight"].shape[0] / 3072}


FACE_DECODER = Layout(
    name="face_decoder",
    target="speech2face.decoders.normalized.NormalizedFaceDecoder",
    renames=(
        (r"pre_layers\.([01])\.([01])\.(.+)", lambda m: f"trunk.{3 * int(m[1]) + int(m[2])}.{m[3]}"),
        (r"landmark_layers\.3\.0\.(.+)", r"landmark_output.\1"),
        (r"landmark_layers\.([0-2])\.([01])\.(.+)", lambda m: f"landmark_layers.{3 * int(m[1]) + int(m[2])}.{m[3]}"),
        (r"texture_layers\.0\.0\.(.+)", r"texture_input.\1"),
        (r"texture_layers\.([1-4])\.[01]\.(.+)", lambda m: f"texture_layers.{int(m[1]) - 1}.{m[2]}"),
        (r"texture_layers\.5\.0\.(.+)", r"texture_output.\1"),
    ),
    needs=("trunk.0.weight", "landmark_output.weight", "texture_input.weight", "texture_output.weight"),
    architecture=_decoder_architecture,
)

LAYOUTS = (
    PAPER,
    TRANSFORMERS_AST,
    ORIGINAL_AST,
    VGG_FACE,
    RCMALLI_VGG_FACE,
    SERENGIL_VGG_FACE,
    RESNET,
    FACE_DECODER,
)
