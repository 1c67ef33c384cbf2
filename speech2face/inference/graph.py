"""Front end, encoder and decoder as one graph of tensors, and the files that other programs run it from."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from speech2face.errors import UserError
from speech2face.preprocessing.audio import Audio
from speech2face.preprocessing.image import Image, to_batch
from speech2face.preprocessing.listening import Listening
from speech2face.preprocessing.speech import RATE

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from speech2face.weights.front_end import FrontEnd

NAMES = {"onnx": "model.onnx", "torch": "model.pt2"}
CARD = "speech2face.json"  # name of the description in a file
LEAST_SAMPLES = 400  # of a recording
NEWTON_STEPS = 60


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
            raise UserError(
                f"preprocessing: a graph of {type(front_end).__name__} is not possible, only of Audio, Image"
            )
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

    @property
    def takes(self) -> str:
        """The name of the input."""
        return "samples" if self.listening else "pixels"

    @property
    def dynamic(self) -> tuple[dict[int, torch.export.Dim]]:
        """The axes of the input that may have any size."""
        length = {1: torch.export.Dim("length", min=LEAST_SAMPLES)} if self.listening else {}
        return ({0: torch.export.Dim("batch")} | length,)

    def example(self, batch: int = 2) -> torch.Tensor:
        """An input: 7 s of a buzz in syllables, or a crop of noise. Noise is no voice, and its face may be extreme."""
        generator = torch.Generator().manual_seed(0)
        if not self.listening:
            shape = (batch, self.front_end.size, self.front_end.size, 3)
            return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        times = torch.arange(7 * RATE) / RATE
        turns = 2 * torch.pi * (120 * times - 6 * torch.cos(3 * times))
        pulses = sum(torch.cos(harmonic * turns) / harmonic for harmonic in range(1, 30))
        syllables = 0.6 + 0.4 * torch.sin(8 * times + torch.arange(batch)[:, None])
        return 0.1 * pulses * syllables + 0.003 * torch.randn((batch, len(times)), generator=generator)


@torch.no_grad()
def trace(graph: Graph) -> "ExportedProgram":
    """The graph as a program of torch, for batches of any size and recordings of any length.

    Raises UserError for networks that Python decides about, by values or by the size of the batch.
    """
    example = graph.example()
    graph(example)  # constants of front ends that are computed with the first input
    try:
        return torch.export.export(graph, (example,), dynamic_shapes=graph.dynamic)
    except Exception as error:  # torch raises anything for code that it cannot trace
        names = " and ".join(type(one).__name__ for one in (graph.encoder, graph.decoder))
        line = str(error).strip().splitlines()[0][:200]
        raise UserError(f"{names}: torch.export finds no graph in their code ({line})") from None


def save(graph: Graph, file_format: str, path: Path, card: dict[str, Any]) -> None:
    """Trace a graph and write it to a file, with a description. file_format: one of NAMES.

    A file of ONNX is a standard that many programs run. A file of torch (torch.export) is loaded by torch alone, with
    `torch.export.load(path).module()`; TorchScript, which it follows, is deprecated.
    """
    program, text = trace(graph), json.dumps(card, indent=2)
    if file_format == "torch":
        torch.export.save(program, path, extra_files={CARD: text})
        return
    solved = program.run_decompositions({torch.ops.aten.linalg_solve.default: solve})
    names = {"input_names": [graph.takes], "output_names": list(graph(graph.example(1)))}
    exported = torch.onnx.export(solved, dynamo=True, verbose=False, dynamic_shapes=graph.dynamic, **names)
    exported.model.metadata_props["speech2face"] = text
    exported.save(path)


def run(path: Path, file_format: str, given: torch.Tensor) -> dict[str, torch.Tensor]:
    """The outputs of the graph in a file, by name, computed by onnxruntime or by torch. given: see Graph."""
    if file_format == "torch":
        return torch.export.load(path).module()(given)
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    found = session.run(names, {session.get_inputs()[0].name: given.numpy()})
    return dict(zip(names, map(torch.from_numpy, found), strict=True))


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
