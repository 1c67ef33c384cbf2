"""Speed and memory, beside what this machine can do: `python benchmarks/run.py` (`--quick`: at most four minutes).

Writes the tables and the plot of docs/benchmarks.md for this kind of machine (`--quick`: prints them only). Full-size
networks have random numbers in the published layouts (1.5 GB in a temporary directory); bundled ones are the small ones
of the package. bfloat16 is measured where the hardware is fast at it, and left out elsewhere, as the first line says.
"""

import time

BEGAN = time.perf_counter()  # before torch is imported

import argparse
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType

import torch
from harness import DEVICE, FILES, ROOT, Bench, fastest, product_rate
from interrupts import interrupts
from networks import batches, encoders, front_ends, precision, training
from processes import cold_start, folders, lengths, memory
from tqdm import tqdm

from speech2face import __version__
from speech2face.files import atomic
from speech2face.run.process import keep_freed_memory

DOCS = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- written by benchmarks/run.py on a machine of the kind {} -->", "<!-- end of what it writes -->"
ABILITIES = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "AVX512-BF16", "amx_bf16": "AMX-BF16"}
QUICK_SECONDS = 220  # after which --quick ends; 20 s are kept for a slow end of the process


def machine(bench: Bench) -> None:
    """The first line, and what bounds everything below."""
    bench.rates = {name: product_rate(name) for name in bench.precisions}
    rates = ", ".join(f"{name} products at {rate:.0f} GFLOP/s" for name, rate in bench.rates.items())
    left_out = "" if "bf16" in bench.rates else " bfloat16 is not fast on this hardware, so its rows are left out."
    bench.explain(f"{processor()}: {rates}.{left_out}")
    if bench.quick:
        bench.say("", "`--quick` makes a single call of each kind on few clips. Its numbers are rough.")
    data = torch.ones(2**27, device=DEVICE)
    other = torch.empty_like(data)
    copied = 2 * data.nbytes / fastest(lambda: other.copy_(data)) / 1e9
    capacity = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    bench.say("## The machine", "")
    bench.explain(
        f"{capacity:.0f} GiB of memory; {'GPU memory' if DEVICE.type == 'cuda' else 'it'} is read and written at "
        f"{copied:.1f} GB/s. Python {platform.python_version()}, torch {torch.__version__}, speech2face {__version__}, "
        f"{commit()}. Other programs run on the machine, so compare ratios and not seconds."
    )


def processor() -> str:
    """Name and abilities of the processor, and of the GPU where there is one."""
    text = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", text)
    able = [name for flag, name in ABILITIES.items() if re.search(rf"\b{flag}\b", text)]
    cpu = f"{model[1] if model else platform.processor()} ({', '.join([*able, f'{os.cpu_count()} cores'])})"
    if DEVICE.type != "cuda":
        return f"{cpu}, no GPU"
    capability = ".".join(map(str, torch.cuda.get_device_capability()))
    return f"{torch.cuda.get_device_name()} (compute capability {capability}) beside {cpu}"


def kind(bench: Bench) -> str:
    """The kind of this machine, one section of the page each: gpu, cpu_bf16 or cpu."""
    return "gpu" if DEVICE.type == "cuda" else "cpu_bf16" if "bf16" in bench.precisions else "cpu"


def commit() -> str:
    """The commit of the checkout, as `git describe` names it."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    found = subprocess.run(command, capture_output=True, text=True)
    return f"commit {found.stdout.strip()}" if found.returncode == 0 else "not a checkout"


def plot(bench: Bench, path: Path) -> None:
    """Time and memory against inputs and length, throughput against batch size."""
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


SECTIONS = (
    machine,
    cold_start,
    encoders,
    precision,
    folders,
    training,
    memory,
    lengths,
    batches,
    front_ends,
    interrupts,
)


class OutOfTime(BaseException):  # no Exception, which the measured code may catch
    """The time of --quick is over."""


def out_of_time(signal_number: int, frame: FrameType | None) -> None:
    """Handle the alarm that ends --quick."""
    raise OutOfTime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="at most four minutes on 2 cores; writes nothing")
    names = [section.__name__ for section in SECTIONS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="SECTION", help=f"print some of {', '.join(names)}")
    options = parser.parse_args()
    keep_freed_memory()
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(Path(directory), options.quick)
        layouts = {Path(file).stem for files in FILES.values() for file in files}
        make = [sys.executable, str(ROOT / "tests/goldens/make_checkpoints.py"), directory]
        subprocess.run([*make, *layouts], check=True, stdout=subprocess.DEVNULL)
        seconds["weights"] = time.perf_counter() - BEGAN
        chosen = [one for one in SECTIONS if not options.only or one.__name__ in (*options.only, "machine")]
        if "bf16" not in bench.precisions:
            chosen = [one for one in chosen if one is not precision]
        if options.quick:
            signal.signal(signal.SIGALRM, out_of_time)
            signal.setitimer(signal.ITIMER_REAL, max(0.1, QUICK_SECONDS - seconds["weights"]))
        try:
            for section in tqdm(chosen, "sections"):
                start = time.perf_counter()
                section(bench)
                seconds[section.__name__] = time.perf_counter() - start
            signal.setitimer(signal.ITIMER_REAL, 0)
        except OutOfTime:
            left_out = [section.__name__ for section in chosen if section.__name__ not in seconds]
            bench.say("", f"Left out for lack of time: {', '.join(left_out)}.")
        parts = ", ".join(f"{name} {took:.0f}" for name, took in seconds.items())
        bench.say("")
        bench.explain(f"All of this took {time.perf_counter() - BEGAN:.0f} s: {parts}.")
        if not options.quick and not options.only:
            plot(bench, DOCS.with_name(f"growth_{kind(bench)}.png"))
            bench.say("", f"![Time and memory against inputs, length and batch size](growth_{kind(bench)}.png)")
    if not options.quick and not options.only:
        text = "\n".join(bench.lines).replace("\n## ", "\n### ")
        begin = BEGIN.format(kind(bench))
        before, _, rest = DOCS.read_text().partition(begin)
        with atomic(DOCS) as partial:
            partial.write_text(f"{before}{begin}\n{text}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
