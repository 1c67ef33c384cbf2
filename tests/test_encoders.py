"""Networks against independent implementations: transformers, torchvision, shapes from the papers."""

import pytest
import torch
from conftest import transformers_ast
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from speech2face.decoders.landmarks import LANDMARK_PARTS
from speech2face.decoders.normalized import NormalizedFaceDecoder
from speech2face.encoders.ast import ORIGINAL, TRANSFORMERS, AudioSpectrogramTransformer, attention
from speech2face.encoders.paper import PaperEncoder
from speech2face.encoders.resnet import ResNet
from speech2face.encoders.vgg_face import VGGFace


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture
def small_transformers_ast() -> nn.Module:
    return transformers_ast(hidden_size=128, num_hidden_layers=3, num_attention_heads=2, max_length=256)


def ours_of(model: nn.Module, **options: object) -> AudioSpectrogramTransformer:
    renamed = TRANSFORMERS.rename(dict(model.state_dict()))
    result = AudioSpectrogramTransformer(**TRANSFORMERS.architecture(renamed) | options).eval()
    result.load_state_dict(renamed)
    return result


@torch.inference_mode()
def test_ast_agrees_with_transformers(small_transformers_ast: nn.Module) -> None:
    ours = ours_of(small_transformers_ast, relu=False)
    x = torch.randn(2, 256, 128)
    torch.testing.assert_close(ours(x), small_transformers_ast(x).logits, atol=1e-4, rtol=1e-4)
    assert (ours_of(small_transformers_ast)(x) == ours(x).relu()).all()


@torch.inference_mode()
def test_ast_takes_any_number_of_frames(small_transformers_ast: nn.Module) -> None:
    ours = ours_of(small_transformers_ast)
    for frames in (16, 100, 256, 700):
        assert ours(torch.randn(1, frames, 128)).shape == (1, 4096)
    with pytest.raises(ValueError, match="15 frames"):
        ours(torch.randn(1, 15, 128))
    # A patch keeps its position when the clip gets shorter, and positions are stretched when it gets longer.
    shorter, full, longer = ours.positions(10), ours.positions(25), ours.positions(49)
    rows = ours.grid[0]
    grid = full[:, 2:].unflatten(1, (rows, 25))
    torch.testing.assert_close(shorter[:, 2:].unflatten(1, (rows, 10)), grid[:, :, :10])
    stretched = longer[:, 2:].unflatten(1, (rows, 49))
    torch.testing.assert_close(stretched[:, :, 24], grid[:, :, 12])  # the middle stays the middle


@torch.inference_mode()
def test_ast_in_the_original_naming_is_the_same_network(small_transformers_ast: nn.Module) -> None:
    ours = ours_of(small_transformers_ast)
    original = {"v.head.weight": torch.zeros(10, 128), "v.head_dist.bias": torch.zeros(10)}
    names = {"class_token": "v.cls_token", "distillation_token": "v.dist_token", "position_embeddings": "v.pos_embed"}
    blocks = {"norm1": "norm1", "norm2": "norm2", "output": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
    state = ours.state_dict()
    for name, tensor in state.items():
        parts = name.split(".")
        if name in names:
            original[names[name]] = tensor
        elif parts[0] == "blocks" and parts[2] in blocks:
            original[f"v.blocks.{parts[1]}.{blocks[parts[2]]}.{parts[3]}"] = tensor
        elif parts[0] == "blocks" and parts[2] == "query":
            qkv = [state[name.replace("query", part)] for part in ("query", "key", "value")]
            original[f"v.blocks.{parts[1]}.attn.qkv.{parts[3]}"] = torch.cat(qkv)
        elif parts[0] in ("patch_projection", "norm"):
            original[{"patch_projection": "v.patch_embed.proj", "norm": "v.norm"}[parts[0]] + "." + parts[1]] = tensor
        elif parts[0] in ("head_norm", "head"):
            original[{"head_norm": "mlp_head.0", "head": "mlp_head.1"}[parts[0]] + "." + parts[1]] = tensor
    renamed = ORIGINAL.convert(ORIGINAL.rename(original))
    assert renamed.keys() == state.keys()
    assert all(torch.equal(renamed[name], state[name]) for name in state)


def test_published_sizes() -> None:
    with torch.device("meta"):
        # 86.6 M of DeiT base with 1214 positions and one input channel, and the head (Gong et al., section 2)
        assert parameters(AudioSpectrogramTransformer()) == pytest.approx(86.2e6 + 4096 * 769, rel=0.01)
        assert parameters(AudioSpectrogramTransformer(192, 12, 3, 768)) == pytest.approx(5.5e6 + 4096 * 193, rel=0.02)
        assert parameters(VGGFace()) == 145_002_878  # VGG-16 with 2622 classes
        assert parameters(PaperEncoder()) == pytest.approx(148e6, rel=0.01)
        narrow = parameters(NormalizedFaceDecoder(width=0.25)) / parameters(NormalizedFaceDecoder())
        assert narrow < 0.1


@torch.inference_mode()
def test_vgg_face_agrees_with_torchvision() -> None:
    from torchvision.models import vgg16

    torch.manual_seed(0)
    ours, theirs = VGGFace(classes=2622).eval(), vgg16(num_classes=2622).eval()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    x = torch.rand(1, 3, 224, 224)
    feature = nn.Sequential(theirs.features, nn.Flatten(1), *theirs.classifier[:-1])(x)
    torch.testing.assert_close(ours(x), feature, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours.classify(ours(x)), theirs(x), atol=1e-5, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("depth", [18, 50])
def test_resnet_is_torchvisions(depth: int) -> None:
    from torchvision import models

    torch.manual_seed(0)
    ours, theirs = ResNet(depth, relu=False).eval(), getattr(models, f"resnet{depth}")(num_classes=4096).eval()
    theirs.load_state_dict(ours.network.state_dict())
    x = torch.rand(2, 3, 96, 96)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-4, rtol=1e-3)
    assert (ResNet(18)(x) >= 0).all()


class Convolutions(TorchDispatchMode):
    """Records (input channels, kernel, stride) of the convolutions that PyTorch computes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.convolution.default:
            self.seen.add((args[1].shape[1], tuple(args[1].shape[2:]), tuple(args[3])))
        return function(*args, **(kwargs or {}))


NARROW = {
    "resnet 18": (lambda: ResNet(18, width=0.05), (8, 3, 64, 64)),
    "resnet 50": (lambda: ResNet(50, width=0.05), (8, 3, 64, 64)),
    "paper": (lambda: PaperEncoder(channels=[4] * 9, hidden=8), (2, 2, 257, 300)),
    "normalized": (lambda: NormalizedFaceDecoder(0.02), (2, 4096)),
}


@pytest.mark.parametrize("name", NARROW)
def test_narrow_networks_have_the_same_gradients_with_and_without_onednn(name: str) -> None:
    build, shape = NARROW[name]
    torch.manual_seed(0)
    network, x = build().eval(), torch.rand(shape)
    with Convolutions() as convolutions:
        network(x)
    # oneDNN's issue 6035: what it computes of these corrupts memory, so do not go on
    assert not [one for one in convolutions.seen if one[0] < 16 and one[1] == (1, 1) and max(one[2]) > 1]
    found = []
    for enabled in (True, False):
        with torch.backends.mkldnn.flags(enabled=enabled):
            values = network(x)
            loss = sum(one.square().mean() for one in ([values] if isinstance(values, torch.Tensor) else values))
            found.append(torch.cat([one.flatten() for one in torch.autograd.grad(loss, network.parameters())]))
    assert (found[0] - found[1]).norm() < 1e-3 * found[1].norm()


@torch.inference_mode()
def test_paper_encoder_adapts_to_the_length_of_the_clip() -> None:
    encoder = PaperEncoder(channels=[4] * 9, hidden=8).eval()
    for frames in (259, 598, 601, 1500):
        assert encoder(torch.randn(1, 2, 257, frames)).shape == (1, 4096)
    with pytest.raises(ValueError, match="258 frames"):
        encoder(torch.randn(1, 2, 257, 258))


@torch.inference_mode()
def test_decoder_of_any_width_gives_landmarks_and_texture() -> None:
    for width in (0.02, 0.25):
        landmarks, texture = NormalizedFaceDecoder(width).eval()(torch.randn(2, 4096))
        assert landmarks.shape == (2, 72, 2) and texture.shape == (2, 3, 224, 224)
        assert texture.min() >= 0 and texture.max() <= 1
    assert sum(LANDMARK_PARTS.values()) == 72


@pytest.mark.parametrize("shape", [(3, 2, 50, 64), (2, 12, 1214, 16)])  # the latter one clip at a time
def test_attention_in_bfloat16_is_scaled_dot_product_attention(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(shape) for _ in range(3))
    exact = ((query.double() @ key.double().mT) / shape[-1] ** 0.5).softmax(-1) @ value.double()
    torch.testing.assert_close(attention(query, key, value).double(), exact, atol=1e-5, rtol=0)
    lowered = attention(query.bfloat16(), key.bfloat16(), value.bfloat16())
    assert lowered.dtype == torch.bfloat16
    torch.testing.assert_close(lowered.double(), exact, atol=0.02, rtol=0)
