"""Front end, encoder and decoder as one graph of tensors, and the files that other programs run it from."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from speech2face.errors import UserError, extra
from speech2face.files import atomic
from speech2face.preprocessing.audio import Audio
from speech2face.preprocessing.image import Image, to_batch
from speech2face.preprocessing.listening import Listening

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from speech2face.inference.reconstructor import Reconstructor
    from speech2face.weights.front_end import FrontEnd

NAMES = {"onnx": "model.onnx", "torch": "model.pt2"}
CARD = "speech2face.json"  # name of the description in a file
SECONDS = 7.0  # length of the recording that a graph is traced with
NEWTON_STEPS = 60
AGREE = 1e-4  # largest difference of onnxruntime to torch, relative to the largest value of an output


class Graph(nn.Module):
    """A recording or a photo -> embedding and typical face, without samples of a prior.

    Input: "samples" (batch, samples) float32 at 16 kHz; or "pixels" (batch, size, size, 3) uint8, RGB, the crop of the
    face that Image makes. Outputs by name: "embedding" (batch, 4096); "face" (batch, height, width, 3), RGB in [0, 1];
    "landmarks" (batch, 72, 2) as x, y in pixels, if the decoder knows them; and of recordings "level_dbfs" (batch,),
    the RMS level without silence, -inf for what is all silent.

    Raises UserError for a front end that a graph cannot have.
    """

    def __init__(self, encoder: nn.Module, front_end: "FrontEnd", decoder: nn.Module) -> None:
        super().__init__()
        if not isinstance(front_end, Audio | Image):
            raise UserError(f"preprocessing: a graph of {type(front_end).__name__} is not possible, only of Audio, Image")
        self.front_end = front_end
        self.listening = Listening(front_end) if isinstance(front_end, Audio) else None
        self.encoder, self.decoder = encoder, decoder

    def forward(self, given: torch.Tensor) -> dict[str, torch.Tensor]:
        if not self.listening:
            embedding, more = self.encoder(self.front_end.normalize(to_batch(given))), {}
        else:
            windows, weights, level = self.listening(given)
            embeddings = self.encoder(self.front_end.features(windows.flatten(0, 1))).unflatten(0, windows.shape[:2])
            shares = weights / weights.sum(1, keepdim=True)
            embedding, more = (embeddings * shares[:, :, None]).sum(1), {"level_dbfs": level.float()}
        landmarks, images = self.decoder(embedding)
        if landmarks is not None:
            more["landmarks"] = landmarks
        return {"embedding": embedding, "face": images.clamp(0, 1).movedim(1, -1)} | more

    def example(self, batch: int = 2) -> torch.Tensor:
        """An input: noise that comes and goes as syllables do, or a crop of noise."""
        generator = torch.Generator().manual_seed(0)
        if not self.listening:
            shape = (batch, self.front_end.size, self.front_end.size, 3)
            return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        times = torch.arange(round(SECONDS * self.front_end.sample_rate)) / self.front_end.sample_rate
        return 0.1 * torch.randn((batch, len(times)), generator=generator) * torch.sin(8 * times).square()


@torch.no_grad()
def trace(graph: Graph) -> "ExportedProgram":
    """The graph as a program of torch, for batches of any size and recordings of any length.

    Raises UserError for a network that depends on the size of the batch, or on values, in Python.
    """
    example = graph.example()
    graph(example)  # constants of front ends that are computed with the first input
    dimensions = {0: torch.export.Dim("batch")} | ({1: torch.export.Dim("samples", min=400)} if graph.listening else {})
    return torch.export.export(graph, (example,), dynamic_shapes=(dimensions,))


def solve(system: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The solution x of system @ x = values, (batch, n, n) and (batch, n, m), by products alone, in float64.

    ONNX has no operator that solves. This is Newton's iteration for the inverse, with the start of Pan and Reif,
    "Efficient parallel solution of linear systems", STOC 1985. NEWTON_STEPS suffice for a condition of a million.
    """
    system = system.double()
    norms = system.abs().sum(1).amax(1) * system.abs().sum(2).amax(1)
    inverse, twice = system.transpose(1, 2) / norms[:, None, None], 2 * torch.eye(system.shape[1]).double()
    for _ in range(NEWTON_STEPS):
        inverse = inverse @ (twice - system @ inverse)
    return (inverse @ values.double()).to(values)


def to_onnx(program: "ExportedProgram", outputs: list[str]) -> Any:
    solved = program.run_decompositions({torch.ops.aten.linalg_solve.default: solve})
    return torch.onnx.export(solved, dynamo=True, verbose=False, output_names=outputs)
