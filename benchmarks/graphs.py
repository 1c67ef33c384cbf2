"""How near an exported graph is to torch and to a run, on the real inputs in examples/.

    python benchmarks/graphs.py outputs/export/DATE/TIME/model.onnx encoder=ge2e

The options are those of the export, and for photos pipeline=face.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from speech2face import build
from speech2face.inference import graph as graphs
from speech2face.preprocessing.decode import decode

EXAMPLES = Path(__file__).parents[1] / "examples"


@torch.no_grad()
def main(file: Path, *options: str) -> None:
    """Print the largest difference of each output. file: model.onnx or model.pt2."""
    reconstruct = build(*options, "precision=fp32")
    front_end, kind = reconstruct.encoder.preprocessing, "onnx" if file.suffix == ".onnx" else "torch"
    graph = graphs.Graph(reconstruct.encoder.network, front_end, reconstruct.decoder.network)
    largest: dict[str, float] = {}
    for name in ("librivox_male.wav", "alsa_female.flac") if graph.listening else ("astronaut.png",):
        if graph.listening:
            given = decode(EXAMPLES / name, 16_000, 0.0, None).waveform
            own = reconstruct(given, 16_000)
        else:
            own = reconstruct(EXAMPLES / name)
            given = own.prepared.preview["crop"].copy()
        batch = torch.from_numpy(given)[None]
        found, wanted = graphs.run(file, kind, batch), graph(batch)
        differences = {output: float((found[output] - one).abs().max()) for output, one in wanted.items()}
        differences["embedding of the run"] = float(np.abs(found["embedding"][0].numpy() - own.embedding).max())
        levels = (found["face"][0].numpy() * 255).astype(np.uint8).astype(int)
        differences["levels of 255 of the run's face"] = float(np.abs(levels - own.face).max())
        largest = {output: max(value, largest.get(output, 0.0)) for output, value in differences.items()}
    for output, value in largest.items():
        print(f"{output:32} {value:.1e}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
