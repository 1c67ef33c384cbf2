"""Sections of benchmarks/run.py that measure whole processes of `python run.py`."""

import statistics
import sys
import time
from functools import partial

import numpy as np
import torch
from harness import (
    BUNDLED,
    CLIP,
    FILES,
    FULL,
    ROOT,
    TALKERS,
    TINY,
    Bench,
    clip_features,
    peak_memory,
    time_once,
    write_wav,
)

from speech2face import build
from speech2face.inference.reconstructor import Reconstructor
from speech2face.run.process import keep_freed_memory

PUBLISHED = {"paper": 13.0, "ast": 12.9}  # s of the published scripts, where float32 products ran at 163 GFLOP/s


def cold_start(bench: Bench) -> None:
    """One clip in a new process, beside a plain script, and the part of it that is not the networks' work."""
    bench.say("## One clip from a cold start", "")
    times, warming = (1, 0) if bench.quick else (5, 1)  # files that were just written are in the file cache already
    imports = [sys.executable, "-c", "import torch, torchvision, torchaudio"]
    plain = str(ROOT / "benchmarks" / "plain_torch.py")
    cases = {
        f"{name} {precision}": [*arguments, f"precision={precision}"]
        for name, arguments in FULL.items()
        for precision in bench.precisions
    } | {name: [*arguments, f"precision={bench.best}"] for name, arguments in BUNDLED.items()}
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
    bench.explain(
        f"Seconds of whole processes, the median of {times}. The processes take turns, and the files are in the file "
        'cache. "plain torch" is `benchmarks/plain_torch.py` with the same networks and files. "rest" is the time '
        "of run.py without loading, encoding and decoding. `import torch, torchvision, torchaudio` alone takes "
        f"{middle['imports']:.2f} s."
    )
    bench.table(["", "run.py", "plain torch", "ratio", "rest", "rest / import"], rows)
    shares = []
    for name, published in PUBLISHED.items():
        ratios = [f"{middle[f'{name} {one}'] / published:.2f} in {one}" for one in bench.precisions]
        shares.append(f"{published} s for `{name}` (run.py takes {' and '.join(ratios)} of that)")
    bench.explain(
        f"The published scripts took {' and '.join(shares)}. Their machine computed fp32 products at 163 GFLOP/s, this "
        f"one at {bench.rates['fp32']:.0f}. They also start two ffmpeg processes and import more."
    )


def folders(bench: Bench) -> None:
    """Many inputs: time beside the networks' own, and memory against the number of inputs."""
    bench.say("## A folder of recordings", "")
    rows = []
    only = "write=embeddings"
    cases = (BUNDLED if bench.quick else FULL | BUNDLED) | {f"{n}, {only}": [*BUNDLED[n], only] for n in BUNDLED}
    for name, arguments in cases.items():
        arguments = [*arguments, f"precision={bench.best}"]
        net, number = bench.built(*arguments), 16 if bench.quick else 64 if name in FULL else 256
        if only in arguments:
            net.decoder = None
        features = clip_features(net)
        took, _, record = bench.run(*arguments, f"audio={bench.clips(number)}")
        began = time.process_time()
        own = time_once(partial(one_by_one, net, features, number))
        cpu, stages = time.process_time() - began, record["seconds"]
        rows.append([name, number, f"{took:.1f}", f"{own:.1f}", f"{took / own:.2f}"])
        rows[-1] += [f"{bench.cpu:.1f}", f"{cpu:.1f}", f"{bench.cpu / cpu:.2f}"]
        rows[-1] += [f"{stages[stage] / number * 1e3:.0f}" for stage in ("preprocess", "write")]
    bench.explain(
        'Clips of 6 s, `batch_size=1`. "run.py" is the whole process with its start. "networks alone" is the time '
        "that encoder and decoder, or with `write=embeddings` the encoder, take for as many clips in a process that "
        "does nothing else. Preprocessing and writing run on other threads. Seconds of the processor (CPU) depend less "
        "on other programs."
    )
    head = ["", "clips", "run.py, s", "networks alone, s", "ratio", "run.py, CPU s", "networks alone, CPU s", "ratio"]
    bench.table([*head, "preprocess, ms a clip", "write, ms a clip"], rows)
    grown = []
    for number in (16, 64) if bench.quick else (16, 64, 256, 1024, 4096):
        took, memory, _ = bench.run("encoder=ast", *TALKERS, f"precision={bench.best}", f"audio={bench.clips(number)}")
        grown.append((number, took, memory))
    bench.growth["inputs"] = grown
    bench.explain("Time and memory against the number of inputs, bundled `ast`:")
    bench.table(["clips", "s", "MB"], [[n, f"{s:.1f}", f"{mb:.0f}"] for n, s, mb in grown])


def one_by_one(net: Reconstructor, features: torch.Tensor, number: int) -> None:
    """Encode the same clip so many times, and decode the embedding if there is a decoder."""
    for _ in range(number):
        embeddings = net.encoder.encode([features])
        if net.decoder:
            net.decoder.decode(embeddings)


def lengths(bench: Bench) -> None:
    """Time and memory against the length of a recording, of which only the used part is decoded."""
    bench.say("## Long recordings", "")
    noise = np.random.default_rng(0).integers(-3000, 3000, 16_000 * 60, np.int16)
    grown = []
    for minutes in (1, 180) if bench.quick else (0.1, 1, 10, 60, 180):
        file = write_wav(bench.home / f"{minutes}_minutes.wav", np.resize(noise, round(60 * minutes * 16_000)))
        runs = [bench.run("encoder=ast", *TALKERS, f"precision={bench.best}", f"audio={file}") for _ in range(2)]
        grown.append((minutes * 60, min(run[0] for run in runs), runs[0][1]))
        file.unlink()
    bench.growth["seconds of recording"] = grown
    bench.explain(
        "Whole processes with the bundled `ast`, the better of two. Only the part that is used is decoded. The whole "
        "file is read for its SHA-256."
    )
    bench.table(["minutes", "s", "MB"], [[f"{s / 60:g}", f"{t:.2f}", f"{mb:.0f}"] for s, t, mb in grown])


def memory(bench: Bench) -> None:
    """A run's peak without what the same run with tiny networks needs, beside the size of the weights."""
    bench.say("## Memory of a single run", "")
    rows = []
    for name in FULL:
        for precision in (bench.best,) if bench.quick else bench.precisions:
            arguments = [f"audio={CLIP}", f"precision={precision}"]
            peak = bench.run(*FULL[name], *arguments)[1]
            rest = bench.run(*TINY[name], *arguments)[1]
            weights = sum((bench.home / file).stat().st_size for file in FILES[name]) / 2**20
            bench.process([sys.executable, __file__, name, precision])
            activations = float((bench.home / "process.log").read_text().splitlines()[-1])
            ratio = (peak - rest - activations) / weights
            rows.append([f"{name}, {precision}", *(f"{x:.0f}" for x in (peak, rest, weights, activations))])
            rows[-1].append(f"{ratio:.2f}")
    bench.explain(
        'MB. "peak" is the greatest resident memory of the process, mapped files included. "without networks" is '
        'the peak of the same run with tiny networks. "activations" is the memory that encoder and decoder add to a '
        "process that has read all its weights."
    )
    bench.table(["", "peak", "without networks", "weights", "activations", "(peak - both) / weights"], rows)


def activations(name: str, precision: str) -> float:
    """MB that a forward pass adds, in a process that has read all its weights."""
    keep_freed_memory()
    net = build(*FULL[name], f"precision={precision}")
    features = clip_features(net)
    for tensor in (*net.encoder.network.state_dict().values(), *net.decoder.network.state_dict().values()):
        tensor.sum()
    before = peak_memory()
    net.decoder.decode(net.encoder.encode([features]))
    return peak_memory() - before


if __name__ == "__main__":  # the section `memory` starts this in a process of its own
    print(activations(*sys.argv[1:]))
