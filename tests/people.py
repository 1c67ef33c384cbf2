"""A face encoder and a decoder that see the shared traits, by least squares: what a test of the evaluation needs."""

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

SIDE, SEEN = 28, 12
PIXELS = 3 * SIDE * SIDE


class Seen(nn.Module):
    """Photos (batch, 3, 224, 224) -> (batch, 4096): twelve numbers, and zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(SEEN, PIXELS))
        self.bias = nn.Parameter(torch.zeros(SEEN))

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        seen = F.linear(F.adaptive_avg_pool2d(photos, SIDE).flatten(1), self.weight, self.bias)
        return F.pad(seen, (0, 4096 - SEEN))


class Drawn(nn.Module):
    """The twelve numbers -> landmarks (batch, 72, 2), texture (batch, 3, 224, 224)."""

    def __init__(self) -> None:
        super().__init__()
        self.texture, self.landmarks = nn.Linear(SEEN, PIXELS), nn.Linear(SEEN, 144)

    def forward(self, feature: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        texture = self.texture(feature[:, :SEEN]).unflatten(1, (3, SIDE, SIDE))
        return self.landmarks(feature[:, :SEEN]).unflatten(1, (72, 2)), F.interpolate(texture, (224, 224)).clamp(0, 1)


class Flat(nn.Module):
    """Embeddings -> the same grey picture for everybody, and landmarks that differ by a hundredth of a pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.grey = nn.Parameter(torch.zeros(1))

    def forward(self, feature: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        face = torch.linspace(40, 180, 144).view(72, 2).cos() * 60 + 112
        moved = feature[:, :SEEN].sum(1)[:, None, None] * torch.linspace(0.001, 0.01, 144).view(72, 2)
        return face + moved, torch.full((len(feature), 3, 224, 224), 0.5)


def fit(root: Path, encoder: Path, decoder: Path) -> None:
    """Fit both on the training people of a dataset: sex, age and size by ridge regression, the rest principal axes."""
    with open(root / "people.csv") as file:
        traits = {row["person"]: row for row in csv.DictReader(file)}
    rows = [
        row
        for row in pq.read_table(root / "prepared" / "faces.parquet").to_pylist()
        if traits[row["person"]]["split"] == "train"
    ]
    photos = np.stack([np.asarray(Image.open(root / row["path"])) for row in rows]).astype(np.float32) / 255
    small = F.adaptive_avg_pool2d(torch.from_numpy(photos).permute(0, 3, 1, 2), SIDE).flatten(1).double()
    people = [traits[row["person"]] for row in rows]
    wanted = torch.tensor(
        [[2.0 * (row["sex"] == "male") - 1, (float(row["age"]) - 49) / 18, float(row["size"])] for row in people]
    ).double()
    mean = small.mean(0)
    gram = (small - mean) @ (small - mean).T
    weight = (small - mean).T @ torch.linalg.solve(gram + 30 * torch.eye(len(gram)), wanted)
    axes = torch.linalg.svd(small - mean, full_matrices=False).Vh[: SEEN - 3].T / 30
    weight = torch.cat([weight, axes], 1)
    torch.save({"weight": weight.T.float(), "bias": (-mean @ weight).float()}, encoder)
    seen = torch.cat([(small - mean) @ weight, torch.ones(len(small), 1).double()], 1)
    landmarks = torch.tensor([row["landmarks"] for row in rows]).double()
    tensors = {}
    for name, target in (("texture", small), ("landmarks", landmarks)):
        solution = torch.linalg.lstsq(seen, target).solution
        tensors |= {f"{name}.weight": solution[:-1].T.float().contiguous(), f"{name}.bias": solution[-1].float()}
    torch.save(tensors, decoder)
