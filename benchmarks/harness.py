"""What the sections of benchmarks/run.py share: networks, clocks, processes, operations, and the report."""

import json
import os
import re
import resource
import subprocess
import sys
import textwrap
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from speech2face import build
from speech2face.inference.device import PRECISIONS, resolve_precision
from speech2face.inference.reconstructor import Reconstructor
from speech2face.preprocessing.decode import decode

CLIP = ROOT / "examples" / "librivox_male.wav"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DECODER = "decoder.weights=face_decoder.pt"
FULL = {
    "paper": ["encoder=paper", "encoder.weights=ve_conv.pt", DECODER],
    "ast": ["encoder=ast", "encoder.weights=ast.pt", DECODER],
}
FILES = {"paper": ("ve_conv.pt", "face_decoder.pt"), "ast": ("ast.pt", "face_decoder.pt")}
TALKERS = ["encoder.weights=bundled/talkers", "decoder=normalized"]
BUNDLED = {"bundled ast": ["encoder=ast", *TALKERS], "bundled paper": ["encoder=paper", *TALKERS]}
RANDOM = ["encoder.weights=random", "decoder=normalized", "decoder.weights=random", "decoder.model.width=0.02"]
TINY = {
    "paper": ["encoder=paper", "encoder.model.channels=[4,4,4,4,4,4,4,4,4]", "encoder.model.hidden=16", *RANDOM],
    "ast": ["encoder=ast_tiny", "encoder.model.depth=1", *RANDOM],
}


def fast_precisions() -> tuple[str, ...]:
    """The precisions that are measured: fp32, and bf16 where this hardware is fast at it (`precision=auto` decides)."""
    return ("fp32", "bf16") if resolve_precision("auto", DEVICE) == "bf16" else ("fp32",)


class Bench:
    """A run of the benchmarks.

    home: temporary directory with the weights. quick: fewer clips and one call of each kind. lines: of the report.
    cpu: seconds of the processor that the last process took. precisions: those that are measured; best: the fastest of
    them. rates: GFLOP/s of a matrix product in each.
    growth: (size, seconds, MB) by name, for the plot.
    """

    def __init__(self, home: Path, quick: bool) -> None:
        self.home, self.quick, self.lines = home, quick, []
        self.count, self.cpu = 0, 0.0
        self.precisions = fast_precisions()
        self.best = self.precisions[-1]
        self.rates: dict[str, float] = {}
        self.growth: dict[str, list[tuple[float, float, float]]] = {}

    def say(self, *lines: str) -> None:
        """Add lines to the report, and print them."""
        start = len(self.lines)
        for line in lines:
            if line.startswith("## ") and self.lines[-1:] != [""]:
                self.lines.append("")
            if line or self.lines[-1:] != [""]:  # one empty line at most
                self.lines.append(line)
        tqdm.write("\n".join(self.lines[start:]))

    def explain(self, text: str) -> None:
        """A paragraph of the report, in lines of 120 characters."""
        self.say(*textwrap.wrap(text, 120, break_long_words=False, break_on_hyphens=False))

    def table(self, head: list[str], rows: list[list[Any]]) -> None:
        lines = ["| " + " | ".join(map(str, row)) + " |" for row in (head, *rows)]
        self.say("", lines[0], "|" + " --- |" * len(head), *lines[1:], "")

    def fastest(self, function: Callable[[], Any], times: int = 3) -> float:
        """Least wall time in s of some calls after one that is not counted; with `quick` the time of a single call."""
        return time_once(function) if self.quick else fastest(function, times)

    def process(self, command: list[str]) -> tuple[float, float]:
        """Wall time in s and greatest resident memory in MB of a process that must succeed."""
        log, peak = self.home / "process.log", 0.0
        began, before = time.perf_counter(), children_cpu()
        with open(log, "wb") as output:
            process = subprocess.Popen(command, cwd=self.home, stdout=output, stderr=output)
            try:
                while process.poll() is None:
                    peak = max(peak, peak_memory(process.pid))
                    time.sleep(0.005)
            finally:
                process.kill()  # of no effect on a process that has ended
                process.wait()
        if process.returncode:
            sys.exit(f"{' '.join(command)}: {log.read_text()[-2000:]}")
        self.cpu = children_cpu() - before
        return time.perf_counter() - began, peak

    def run(self, *arguments: str) -> tuple[float, float, dict[str, Any]]:
        """Wall time, memory and run.json of `python run.py ARGUMENTS`."""
        self.count += 1
        out = self.home / f"out{self.count}"
        found = self.process([sys.executable, str(ROOT / "run.py"), *arguments, f"hydra.run.dir={out}"])
        return *found, json.loads((out / "run.json").read_text())

    def built(self, *arguments: str) -> Reconstructor:
        """build(ARGUMENTS) in the directory of the weights."""
        here = os.getcwd()
        os.chdir(self.home)
        try:
            return build(*arguments)
        finally:
            os.chdir(here)

    def clips(self, count: int, seconds: float = 6.0, distinct: int = 256) -> Path:
        """A directory of recordings cut from an example; after `distinct` of them the files repeat."""
        folder = self.home / f"clips_{count}_{seconds:g}"
        if folder.exists():
            return folder
        folder.mkdir()
        samples = (decode(CLIP).waveform * 32767).astype(np.int16)
        for number in range(count):
            file = folder / f"{number:05d}.wav"
            if number < distinct:
                write_wav(file, np.resize(np.roll(samples, -997 * number), round(seconds * 16_000)))
            else:
                os.link(folder / f"{number % distinct:05d}.wav", file)
        return folder


def write_wav(path: Path, samples: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.tobytes())
    return path


def clip_features(net: Reconstructor) -> torch.Tensor:
    """Features of the example, (1, ...)."""
    return net.encoder.prepare(CLIP).features


def children_cpu() -> float:
    """Seconds of the processor that processes have taken which this one has started and which have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def peak_memory(process: int | str = "self") -> float:
    """Greatest resident memory of a process until now, in MB; 0 of one that has ended."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def fastest(function: Callable[[], Any], times: int = 3) -> float:
    """Least wall time in s of some calls, after one that is not counted."""
    time_once(function)
    return min(time_once(function) for _ in range(times))


def time_once(function: Callable[[], Any]) -> float:
    """Wall time in s of a call and of the work that it has queued on a GPU."""
    began = time.perf_counter()
    function()
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def product_rate(precision: str, size: int = 2048, times: int = 5) -> float:
    """GFLOP/s of a matrix product."""
    size *= 4 if DEVICE.type == "cuda" else 1
    a, b = (torch.randn(size, size, device=DEVICE).to(PRECISIONS[precision] or torch.float32) for _ in range(2))
    return 2 * size**3 / fastest(lambda: a @ b, times) / 1e9


def operations(network: nn.Module, features: torch.Tensor, training: bool = False) -> float:
    """GFLOP of a forward pass, and with `training` of the backward pass too. Nothing is computed: only shapes are."""
    tensors = {name: tensor.to("meta") for name, tensor in network.state_dict().items()}
    for name, parameter in network.named_parameters():  # in bf16 the weights of products are in bf16
        tensors[name] = torch.empty_like(parameter, dtype=torch.float32, device="meta", requires_grad=training)
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(training):
        embeddings = functional_call(network, tensors, (features.to("meta"),))
        if training:
            embeddings.sum().backward()
    return counter.get_total_flops() / 1e9
