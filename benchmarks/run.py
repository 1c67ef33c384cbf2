"""Speed and memory, each beside what this machine can do: `python benchmarks/run.py` (`--quick`: four minutes).

Writes the tables and plots of docs/benchmarks.md (`--quick`: prints them only). Full-size networks have random numbers
in the published layouts (2.6 GB in a temporary directory); bundled ones are the small ones of the package.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from speech2face import build
from speech2face.evaluation.images import psnr
from speech2face.files import atomic
from speech2face.preprocessing.decode import decode_audio
from speech2face.reconstructor import PRECISIONS, resolve_precision
from speech2face.runs import keep_freed_memory
from speech2face.talkers.recording import encode
from speech2face.training.losses import normalized_distance

DOCS = ROOT / "docs" / "benchmarks.md"
CLIP = ROOT / "examples" / "librivox_male.wav"
BEGIN, END = "<!-- written by benchmarks/run.py -->", "<!-- end of what benchmarks/run.py writes -->"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DECODER = "decoder.weights=face_decoder.pt"
FULL = {
    "paper": ["encoder=paper", "encoder.weights=ve_conv.pt", DECODER],
    "ast": ["encoder=ast", "encoder.weights=ast.pt", DECODER],
}
FILES = {"paper": ("ve_conv.pt", "face_decoder.pt"), "ast": ("ast.pt", "face_decoder.pt")}
BUNDLED = {"bundled ast": ["encoder=ast"], "bundled paper": ["encoder=paper"]}
NOTHING = ["encoder.weights=random", "decoder.weights=random", "decoder.model.width=0.02"]
TINY = {
    "paper": ["encoder=paper", "encoder.model.channels=[4,4,4,4,4,4,4,4,4]", "encoder.model.hidden=16", *NOTHING],
    "ast": ["encoder=ast_tiny", "encoder.model.depth=1", *NOTHING],
}


class Bench:
    """Where things are, and how much time there is. lines: of the report."""

    def __init__(self, home: Path, quick: bool) -> None:
        self.home, self.quick, self.lines = home, quick, []
        self.count = 0
        self.rates: dict[str, float] = {}
        self.growth: dict[str, list[tuple[float, float, float]]] = {}

    def say(self, *lines: str) -> None:
        for line in lines:
            self.lines += ["", line] if line.startswith("## ") else [line]

    def table(self, head: list[str], rows: list[list[Any]]) -> None:
        self.say("", "| " + " | ".join(head) + " |", "|" + " --- |" * len(head))
        self.say(*("| " + " | ".join(map(str, row)) + " |" for row in rows), "")

    def process(self, command: list[str]) -> tuple[float, float]:
        """Wall time in s and greatest resident memory in MB of a process that must succeed."""
        log, peak = self.home / "process.log", 0.0
        began = time.perf_counter()
        with open(log, "wb") as output:
            process = subprocess.Popen(command, cwd=self.home, stdout=output, stderr=output)
            while process.poll() is None:
                peak = max(peak, peak_memory(process.pid))
                time.sleep(0.005)
        if process.returncode:
            sys.exit(f"{' '.join(command)}: {log.read_text()[-2000:]}")
        return time.perf_counter() - began, peak

    def run(self, *arguments: str) -> tuple[float, float, dict[str, Any]]:
        """Wall time, memory and run.json of `python run.py ARGUMENTS`."""
        self.count += 1
        out = self.home / f"out{self.count}"
        found = self.process([sys.executable, str(ROOT / "run.py"), *arguments, f"hydra.run.dir={out}"])
        return *found, json.loads((out / "run.json").read_text())

    def clips(self, count: int, seconds: float = 6.0, distinct: int = 256) -> Path:
        """A directory of recordings: parts of an example, and from `distinct` on the same ones again."""
        folder = self.home / f"clips_{count}_{seconds:g}"
        if folder.exists():
            return folder
        folder.mkdir()
        samples = (decode_audio(CLIP)[0] * 32767).astype(np.int16)
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


def peak_memory(process: int | str = "self") -> float:
    """Greatest resident memory of a process until now, in MB; 0 of one that has ended."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def fastest(function: Callable[[], Any], times: int = 3) -> float:
    """Least wall time in s of some calls, after one that does not count."""
    time_once(function)
    return min(time_once(function) for _ in range(times))


def time_once(function: Callable[[], Any]) -> float:
    """Wall time in s of a call, and of what it has left to a GPU."""
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


def machine(bench: Bench) -> None:
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    bench.say("## The machine, and its ceilings", "")
    gpu = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "no GPU"
    bench.say(
        f"{cpu[1] if cpu else platform.processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, {gpu}; Python "
        f"{platform.python_version()}, torch {torch.__version__}; `precision=auto` is "
        f"{resolve_precision('auto', DEVICE)} here. Shared with others, so ratios count, not seconds."
    )
    bench.rates = {name: product_rate(name) for name in ("fp32", "bf16")}
    data = torch.ones(2**27, device=DEVICE)
    other = torch.empty_like(data)
    copied = 2 * data.nbytes / fastest(lambda: other.copy_(data)) / 1e9
    bench.table(
        ["ceiling", "measured"],
        [[f"matrix product, {name}", f"{rate:.0f} GFLOP/s"] for name, rate in bench.rates.items()]
        + [["memory, read and written", f"{copied:.1f} GB/s"]],
    )


def cold_start(bench: Bench) -> None:
    """A clip from nothing, beside a plain script; and what is not the networks' own work."""
    bench.say("## One clip from a cold start", "")
    times, warming = (1, 0) if bench.quick else (5, 1)  # what was just written is in the file cache already
    imports = [sys.executable, "-c", "import torch, torchvision, torchaudio"]
    plain = str(ROOT / "benchmarks" / "plain_torch.py")
    cases = {
        f"{name} {precision}": [*arguments, f"precision={precision}"]
        for name, arguments in FULL.items()
        for precision in ("fp32", "bf16")
    } | BUNDLED
    seconds: dict[str, list[float]] = {}
    for turn in range(times + warming):
        took = {"imports": bench.process(imports)[0]}
        for name in FULL:
            files = [str(bench.home / file) for file in FILES[name]]
            script = [sys.executable, plain, name, *files, str(CLIP), "face.png"]
            took[f"{name} plain"] = bench.process(script)[0]
        for case, arguments in cases.items():
            took[case], _, record = bench.run(*arguments, f"audio={CLIP}")
            networks = sum(record["seconds"][stage] for stage in ("load", "encode", "decode"))
            took[f"{case} rest"] = took[case] - networks
        for name, value in took.items() if turn >= warming else ():
            seconds.setdefault(name, []).append(value)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    rows = []
    for name in cases:
        rest = middle[f"{name} rest"]
        reference = middle.get(f"{name.split()[0]} plain")
        ratio = f"{middle[name] / reference:.2f}" if reference else ""
        rows.append([name, f"{middle[name]:.2f}", f"{reference:.2f}" if reference else "", ratio])
        rows[-1] += [f"{rest:.2f}", f"{rest / middle['imports']:.2f}"]
    bench.say(
        f"Whole processes, in turns, median of {times} with warm file caches, in seconds. Plain torch is "
        "`benchmarks/plain_torch.py`, the same networks and files. The rest is all but loading, encoding and "
        f"decoding; `import torch, torchvision, torchaudio` alone takes {middle['imports']:.2f} s.",
    )
    bench.table(["", "run.py", "plain torch", "ratio", "rest", "rest / import"], rows)
    shares = []
    for name, published in (("paper", 13.0), ("ast", 12.9)):
        ratios = [middle[f"{name} {precision}"] / published for precision in ("fp32", "bf16")]
        shares.append(f"`{name}` {published} s: {ratios[0]:.2f} of that in fp32 here, {ratios[1]:.2f} in bf16")
    bench.say(
        "The published scripts, which also start two ffmpeg processes and import more, took, where float32 products "
        f"ran at 163 GFLOP/s ({bench.rates['fp32']:.0f} here), {'; '.join(shares)}.",
    )


def feature(reconstructor: Any) -> torch.Tensor:
    return reconstructor.preprocessing(CLIP).features


def built(bench: Bench, *arguments: str) -> Any:
    here = os.getcwd()
    os.chdir(bench.home)
    try:
        return build(*arguments)
    finally:
        os.chdir(here)


def operations(reconstructor: Any, features: torch.Tensor) -> float:
    """GFLOP of the encoder for one clip. In bfloat16, where attention is products that are counted."""
    with FlopCounterMode(display=False) as counter, torch.autocast(DEVICE.type, torch.bfloat16), torch.no_grad():
        reconstructor.encoder(features[:1].to(DEVICE))
    return counter.get_total_flops() / 1e9


def encoders(bench: Bench) -> None:
    bench.say("## Encoders and decoder, in batches of eight", "")
    bench.say(
        "Operations as torch's counter has them; the share is of the matrix product's rate, measured just before."
    )
    rows = []
    for name in FULL:
        for precision in ("fp32", "bf16"):
            net = built(bench, *FULL[name], f"precision={precision}", "batch_size=8")
            features = [feature(net)] * 8
            flop = operations(net, features[0])
            rate = product_rate(precision)
            took = fastest(lambda net=net, features=features: net.encode(features), 1 if bench.quick else 3)
            single = fastest(lambda net=net, features=features: net.encode(features[:1]), 1 if bench.quick else 3)
            reached = 8 * flop / took
            rows.append([f"{name}, {precision}", f"{flop:.0f}", f"{took / 8:.3f}", f"{single:.3f}"])
            rows[-1] += [f"{reached:.0f}", f"{reached / rate:.0%}"]
            if name == "paper":
                embedding = torch.randn(16, 4096)
                took = fastest(lambda net=net, embedding=embedding: net.decode(embedding), 2)
                rows.append([f"decoder, {precision}, batches of 16", "", f"{took / 16:.4f}", "", "", ""])
    bench.table(["", "GFLOP a clip", "s a clip", "s, one alone", "GFLOP/s", "share"], rows)


def precision(bench: Bench) -> None:
    """fp32 against bf16: the same face."""
    bench.say("## bfloat16 draws the same face", "")
    rows = []
    for name, arguments in (FULL | BUNDLED).items():
        results = [built(bench, *arguments, f"precision={one}")(CLIP) for one in ("fp32", "bf16")]
        a, b = (one.embedding.astype(np.float64) for one in results)
        (alike,) = psnr(*(one.face[None] for one in results))
        rows.append([name, f"{a @ b / np.linalg.norm(a) / np.linalg.norm(b):.6f}", f"{alike:.1f}"])
    bench.table(["", "cosine of the embeddings", "PSNR of the faces, dB"], rows)


def folders(bench: Bench) -> None:
    """Many inputs: against the networks' own time, and whether memory grows."""
    bench.say("## A folder of recordings", "")
    many = {name: (8 if name in FULL else 64) if bench.quick else 256 for name in FULL | BUNDLED}
    rows = []
    for name, arguments in (FULL | BUNDLED).items():
        number = many[name]
        took, memory, record = bench.run(*arguments, f"audio={bench.clips(number)}")
        net = built(bench, *arguments)
        features = [feature(net)]

        def own(net: Any = net, features: list = features, number: int = number) -> None:
            for _ in range(number):
                net.decode(net.encode(features))

        own_time = time_once(own)
        stages = record["seconds"]
        rows.append([name, number, f"{took:.1f}", f"{own_time:.1f}", f"{took / own_time:.2f}"])
        rows[-1] += [f"{stages['preprocess'] / number * 1e3:.0f}", f"{stages['write'] / number * 1e3:.0f}"]
    bench.say(
        "Clips of 6 s, `batch_size=1`. Whole process (start included) against the time that encoder and decoder alone "
        "take for as many clips in a process that does nothing else; preprocessing and writing are on other threads.",
    )
    head = ["", "clips", "run.py, s", "networks alone, s", "ratio", "preprocess, ms a clip", "write, ms a clip"]
    bench.table(head, rows)
    grown = []
    for number in (16, 64, 256) if bench.quick else (16, 64, 256, 1024, 4096):
        took, memory, _ = bench.run("encoder=ast", f"audio={bench.clips(number)}")
        grown.append((number, took, memory))
    bench.growth["inputs"] = grown
    bench.say("Growth with the number of inputs, bundled `ast`:")
    bench.table(["clips", "s", "MB"], [[n, f"{s:.1f}", f"{mb:.0f}"] for n, s, mb in grown])


def lengths(bench: Bench) -> None:
    """Clips of any length: what is not heard is not decoded."""
    bench.say("## Long recordings", "")
    noise = np.random.default_rng(0).integers(-3000, 3000, 16_000 * 60, np.int16)
    grown = []
    for minutes in (1, 180) if bench.quick else (0.1, 1, 10, 60, 180):
        file = write_wav(bench.home / f"{minutes}_minutes.wav", np.resize(noise, round(60 * minutes * 16_000)))
        runs = [bench.run("encoder=ast", f"audio={file}") for _ in range(2)]
        grown.append((minutes * 60, min(run[0] for run in runs), runs[0][1]))
        file.unlink()
    bench.growth["seconds of recording"] = grown
    bench.say("Whole processes with the bundled `ast`, the better of two; the file is read once more for its SHA-256.")
    bench.table(["minutes", "s", "MB"], [[f"{s / 60:g}", f"{t:.2f}", f"{mb:.0f}"] for s, t, mb in grown])


def batches(bench: Bench) -> None:
    if DEVICE.type == "cuda":
        sizes, names = (1, 4, 16, 64, 256), list(FULL)
    else:
        sizes, names = ((1, 8) if bench.quick else (1, 2, 4, 8, 16, 32)), ["bundled paper", "bundled ast", "paper"]
    bench.say("## Batch size", "", f"Clips a second through the encoder, {resolve_precision('auto', DEVICE)}:")
    rows = []
    for name in names:
        row: list[Any] = [name]
        for size in sizes:
            net = built(bench, *(FULL | BUNDLED)[name], f"batch_size={size}")
            features = [feature(net)] * size
            took = fastest(lambda net=net, features=features: net.encode(features), 2)
            row.append(f"{size / took:.3g}")
            bench.growth.setdefault(f"{name}: clips in a batch", []).append((size, took, 0.0))
            if DEVICE.type == "cuda" and size == sizes[-1]:
                share = size * operations(net, features[0]) / took / bench.rates["bf16"]
                row[0] = f"{name} ({share:.0%} of the product's rate at {size})"
        rows.append(row)
    bench.table(["", *map(str, sizes)], rows)


def training(bench: Bench) -> None:
    """A step of training a full-size voice encoder: forward, backward, AdamW."""
    precision, clips = resolve_precision("auto", DEVICE), 2 if bench.quick else 8
    bench.say("## A training step", "")
    bench.say(f"{clips} clips, forward, backward and AdamW, {precision}; the share is of the matrix product's rate.")
    rows = []
    for name in FULL:
        net = built(bench, *FULL[name], "precision=fp32")
        encoder = net.encoder.train().requires_grad_(True)
        features = torch.cat([feature(net)] * clips).to(DEVICE)
        true = torch.rand(clips, 4096, device=DEVICE)
        optimizer = torch.optim.AdamW(encoder.parameters(), 1e-5)

        def step(
            encoder: Any = encoder, features: Any = features, true: Any = true, optimizer: Any = optimizer
        ) -> None:
            with torch.autocast(DEVICE.type, PRECISIONS[precision], enabled=precision != "fp32"):
                predicted = encoder(features).float()
            normalized_distance(predicted, true).backward()
            optimizer.step()
            optimizer.zero_grad()

        with FlopCounterMode(display=False) as counter:
            step()
        took = fastest(step, 1 if bench.quick else 3)
        reached = counter.get_total_flops() / took / 1e9
        rows.append([name, f"{took:.2f}", f"{clips / took:.2f}", f"{reached:.0f}"])
        rows[-1].append(f"{reached / product_rate(precision):.0%}")
    bench.table(["", "s a step", "clips/s", "GFLOP/s", "share"], rows)


def memory(bench: Bench) -> None:
    """A single run's peak, less what a run with tiny networks needs, against the weights."""
    bench.say("## Memory of a single run", "")
    rows = []
    for name in FULL:
        for precision in ("bf16",) if bench.quick else ("fp32", "bf16"):
            arguments = [f"audio={CLIP}", f"precision={precision}"]
            peak = bench.run(*FULL[name], *arguments)[1]
            rest = bench.run(*TINY[name], *arguments)[1]
            weights = sum((bench.home / file).stat().st_size for file in FILES[name]) / 2**20
            child = [sys.executable, __file__, "--activations", name, precision]
            bench.process(child)
            activations = float((bench.home / "process.log").read_text().splitlines()[-1])
            ratio = (peak - rest - activations) / weights
            rows.append([f"{name}, {precision}", *(f"{x:.0f}" for x in (peak, rest, weights, activations))])
            rows[-1].append(f"{ratio:.2f}")
    bench.say(
        "MB. Peak: greatest resident memory of the process, mapped files included. Without networks: the same run with "
        "tiny ones. Activations: what encoder and decoder add to a process that has touched all of its weights.",
    )
    bench.table(["", "peak", "without networks", "weights", "activations", "(peak - both) / weights"], rows)


def activations(name: str, precision: str) -> float:
    """MB that a forward pass needs beside the weights, all of them in memory before."""
    keep_freed_memory()
    net = build(*FULL[name], f"precision={precision}")
    features = feature(net)
    for tensor in (*net.encoder.state_dict().values(), *net.decoder.state_dict().values()):
        tensor.sum()
    before = peak_memory()
    net.decode(net.encode([features]))
    return peak_memory() - before


def front_ends(bench: Bench) -> None:
    bench.say("## Front ends and decoding, on one core", "")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    samples = decode_audio(CLIP)[0]
    batch = torch.from_numpy(np.stack([np.resize(np.roll(samples, -997 * i), 16_000 * 10) for i in range(8)]))
    rows = []
    for name in ("paper", "ast"):
        transform = built(bench, *TINY[name]).preprocessing.features
        took = fastest(lambda transform=transform: transform(batch), 5)
        rows.append([type(transform).__name__, "8 clips of 10 s together", f"{80 / took:.0f}"])
    minute = np.resize(samples, 16_000 * 60)
    for container, codec, rate in (
        ("wav", "pcm_s16le", 16_000),
        ("wav", "pcm_s16le", 44_100),
        ("flac", "flac", 44_100),
        ("mp3", "libmp3lame", 44_100),
        ("mp4", "aac", 44_100),
        ("ogg", "libopus", 48_000),
    ):
        file = bench.home / f"minute_{rate}.{container}"
        file.write_bytes(encode(minute, codec, container, rate=rate))
        took = fastest(lambda file=file: decode_audio(file), 3)
        rows.append(["decoding to 16 kHz", f"{codec}, {rate / 1000:g} kHz, one minute", f"{60 / took:.0f}"])
    torch.set_num_threads(threads)
    bench.table(["", "", "times real time"], rows)


def gpu(bench: Bench) -> None:
    bench.say("## GPU", "")
    if DEVICE.type != "cuda":
        bench.say("Not run: there was none. The same command measures it where there is one: everything above on it.")


def plot(bench: Bench, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = {"inputs": "recordings", "seconds of recording": "seconds of recording"}
    figure, axes = pyplot.subplots(1, 3, figsize=(13, 3.6), layout="constrained")
    for axis, (key, label) in zip(axes, shown.items(), strict=False):
        x, seconds, megabytes = zip(*bench.growth[key], strict=True)
        axis.plot(x, seconds, "o-", color="#2f6f8f", label="s")
        axis.set(xscale="log", xlabel=label, ylabel="seconds, whole process", ylim=(0, 1.3 * max(seconds)))
        if key == "inputs":
            axis.set(xscale="log", yscale="log", ylim=(1, None))
        other = axis.twinx()
        other.plot(x, megabytes, "s--", color="#c73e5d")
        other.set(ylim=(0, 2 * max(megabytes)))
        other.set_ylabel("MB at most", color="#c73e5d")
    for key, found in bench.growth.items():
        if key.endswith("in a batch"):
            axes[2].plot([n for n, _, _ in found], [n / s for n, s, _ in found], "o-", label=key.partition(":")[0])
    axes[2].set(xscale="log", yscale="log", xlabel="clips in a batch", ylabel="clips a second")
    axes[2].legend()
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


SECTIONS = (machine, cold_start, encoders, precision, folders, lengths, batches, training, memory, front_ends, gpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="at most four minutes on 2 cores; writes nothing")
    parser.add_argument("--only", nargs="*", help="sections by name, printed only")
    parser.add_argument("--activations", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.activations:
        print(activations(*options.activations))
        return
    keep_freed_memory()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(Path(directory), options.quick)
        names = {file for files in FILES.values() for file in files}
        make = [sys.executable, str(ROOT / "tests/goldens/make_checkpoints.py"), directory]
        subprocess.run([*make, *(Path(name).stem for name in names)], check=True, stdout=subprocess.DEVNULL)
        chosen = [one for one in SECTIONS if not options.only or one.__name__ in (*options.only, "machine")]
        for section in tqdm(chosen, "sections"):
            section(bench)
        minutes = (time.perf_counter() - began) / 60
        bench.say("", f"All of this took {minutes:.0f} minutes.")
        if not options.quick and not options.only:
            plot(bench, DOCS.with_name("growth.png"))
            bench.say("", "![Time and memory against inputs, length and batch size](growth.png)")
    text = "\n".join(bench.lines)
    print(text)
    if not options.quick and not options.only:
        before, _, rest = DOCS.read_text().partition(BEGIN)
        with atomic(DOCS) as partial:
            partial.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
