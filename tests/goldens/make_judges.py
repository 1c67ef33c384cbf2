"""Write judges.npz: what facenet-pytorch, and ResNet-50 of VGGFace2 as its prototxt says, answer with seeded weights.

    pip install --no-deps facenet-pytorch requests; python make_judges.py OUT.npz

Weights are those of make_checkpoints.tensor, and the input is `noise`. For each network: the first numbers of the
embedding and of the logits of two inputs.
"""

import sys

import numpy as np
import torch
import torch.nn.functional as F
from make_checkpoints import tensor

CLASSES, KEPT = 7, 16
SIZES = {"facenet": 160, "vggface2": 224}


def noise(name: str) -> torch.Tensor:
    """The input (2, 3, size, size) of a network."""
    values = np.random.default_rng(len(name)).standard_normal((2, 3, SIZES[name], SIZES[name]), dtype=np.float32)
    return torch.from_numpy(values)


def filled(name: str, shapes: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: tensor(name, key, list(value.shape)) for key, value in shapes.items()}


def facenet(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    from facenet_pytorch.models.inception_resnet_v1 import InceptionResnetV1

    network = InceptionResnetV1(pretrained=None, classify=True, num_classes=CLASSES).eval()
    network.load_state_dict(filled("facenet", network.state_dict()))
    logits = network(x)
    network.classify = False
    return network(x), logits


def vggface2(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    def weight(name: str, *shape: int) -> torch.Tensor:
        return tensor("vggface2", name, list(shape))

    def convolution(x: torch.Tensor, name: tuple[str, str], outputs: int, kernel: int, stride: int = 1) -> torch.Tensor:
        x = F.conv2d(x, weight(f"{name[0]}.weight", outputs, x.shape[1], kernel, kernel), None, stride, kernel // 2)
        scale, offset, mean, variance = (
            weight(f"{name[1]}.{one}", outputs) for one in ("weight", "bias", "running_mean", "running_var")
        )
        return F.batch_norm(x, mean, variance, scale, offset, False, 0.0, 1e-5)

    x = F.relu(convolution(x, ("conv1", "bn1"), 64, 7, 2))
    x = F.max_pool2d(x, 3, 2, 0, ceil_mode=True)
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), 1):
        for block in range(blocks):
            name, stride, shortcut = f"layer{stage}.{block}", 2 if block == 0 and stage > 1 else 1, x
            if block == 0:
                down = f"{name}.downsample"
                shortcut = convolution(x, (f"{down}.0", f"{down}.1"), 4 * width, 1, stride)
            x = F.relu(convolution(x, (f"{name}.conv1", f"{name}.bn1"), width, 1, stride))
            x = F.relu(convolution(x, (f"{name}.conv2", f"{name}.bn2"), width, 3))
            x = F.relu(convolution(x, (f"{name}.conv3", f"{name}.bn3"), 4 * width, 1) + shortcut)
    pooled = F.avg_pool2d(x, 7).flatten(1)
    return F.normalize(pooled), F.linear(pooled, weight("fc.weight", CLASSES, 2048), weight("fc.bias", CLASSES))


if __name__ == "__main__":
    found = {}
    with torch.inference_mode():
        for name, network in (("facenet", facenet), ("vggface2", vggface2)):
            embedding, logits = network(noise(name))
            found[f"{name}_embedding"], found[f"{name}_logits"] = embedding[:, :KEPT].numpy(), logits.numpy()
    np.savez(sys.argv[1], **found)
