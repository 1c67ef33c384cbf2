"""`pipeline=export`: front end, encoder and decoder as one graph that runs without this program."""

import importlib.util
import logging
import warnings
from typing import TYPE_CHECKING, Any

from speech2face import __version__
from speech2face.config.options import Export
from speech2face.errors import UserError, extra
from speech2face.files import atomic
from speech2face.pipelines.parts import apart, load_parts, locate_parts, settled, untrained
from speech2face.run.record import Run

if TYPE_CHECKING:
    import torch

    from speech2face.weights.load import Loaded

log = logging.getLogger(__name__)
NEEDED = ("onnx", "onnxscript", "onnxruntime")
AGREE = 1e-4  # largest difference of an output to torch's: absolute, and relative to its largest value above 1


def export(options: Export, run: Run) -> int:
    """Write model.onnx or model.pt2 to the run's directory. Returns 0.

    The file appears only if onnxruntime or torch compute from it what this program computes. Raises UserError if they
    do not, and for front ends and networks that a graph cannot have.
    """
    if options.precision not in ("auto", "fp32"):
        raise UserError(f"precision={options.precision}: a graph is in fp32")
    if options.format == "onnx" and (missing := [one for one in NEEDED if not importlib.util.find_spec(one)]):
        raise UserError(f"format=onnx needs {', '.join(missing)}: {extra('export')}; format=torch needs nothing")
    located = locate_parts(options)
    from speech2face.inference import graph as graphs

    with run.stage("load"):
        loaded = load_parts(options, located)
        encoder, decoder = loaded["encoder"], loaded["decoder"]
        graph = graphs.Graph(encoder.network, encoder.preprocessing, decoder.network).eval()
    if warning := untrained(loaded) or apart(encoder, decoder):
        log.warning(warning)
    run.record["weights"] = {slot: one.record() for slot, one in loaded.items()}
    run.save_options(settled(options, loaded, precision="fp32"))
    path = run.directory / graphs.NAMES[options.format]
    with atomic(path) as partial:
        with run.stage("write"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporters, about themselves
            graphs.save(graph, options.format, partial, describe(loaded))
        with run.stage("check"):
            given = graph.example(3)
            difference = compare(graphs.run(partial, options.format, given), graph(given))
    run.record["graph"] = {"file": path.name, "difference": difference}
    named = "onnxruntime" if options.format == "onnx" else "the graph"
    log.info("%s and this program agree to %.0e: %s", named, difference, path)
    return 0


def describe(loaded: "dict[str, Loaded]") -> dict[str, Any]:
    """The description in the file: weights, and the front end with its options."""
    parts = {slot: one.record() for slot, one in loaded.items()}
    for one in parts.values():
        del one["file"]
    return {"speech2face": __version__, "preprocessing": loaded["encoder"].part.preprocessing} | parts


def compare(found: "dict[str, torch.Tensor]", wanted: "dict[str, torch.Tensor]") -> float:
    """The largest difference of two sets of outputs, see AGREE. Raises UserError if it is larger than AGREE."""
    differences = {
        name: float((found[name] - one).abs().max() / one.abs().max().clamp(min=1)) for name, one in wanted.items()
    }
    name = max(differences, key=differences.get)
    if not differences[name] <= AGREE:
        raise UserError(
            f"the graph's {name} differs by {differences[name]:.1e} from this program's; nothing is written"
        )
    return differences[name]
