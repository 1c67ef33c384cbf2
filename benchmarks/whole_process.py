"""Time run.py as a whole process, full-size published layouts on one input: `python benchmarks/whole_process.py`.

Writes the checkpoints (2.6 GB, random numbers in the published layouts) to a temporary directory, runs each command
once to warm the file cache and then RUNS times, in turn, and prints the table of docs/benchmarks.md.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).parents[1]
RUNS = 5
STAGES = ("import", "load", "preprocess", "encode", "decode", "write")
CASES = {
    "paper": ["pipeline=speech", "encoder=paper", "encoder.weights=ve_conv.pt"],
    "ast": ["pipeline=speech", "encoder=ast", "encoder.weights=ast.pt"],
    "ast, bf16": ["pipeline=speech", "encoder=ast", "encoder.weights=ast.pt", "precision=bf16"],
    "vgg_face": ["pipeline=face", "encoder=vgg_face", "encoder.weights=vggface_serengil.pt"],
}
INPUTS = [f"audio={ROOT}/examples/librivox_male.wav", f"image={ROOT}/examples/astronaut.png"]


def main() -> None:
    seconds: dict[str, list[dict[str, float]]] = {name: [] for name in CASES}
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([sys.executable, ROOT / "tests/goldens/make_checkpoints.py", directory], check=True)
        for turn in tqdm(range(RUNS + 1), "runs of each"):
            for name, arguments in CASES.items():
                out = Path(directory, f"{name} {turn}")
                command = [sys.executable, ROOT / "run.py", *arguments, *INPUTS, "decoder.weights=face_decoder.pt"]
                began = time.perf_counter()
                subprocess.run([*command, f"hydra.run.dir='{out}'"], check=True, cwd=directory, capture_output=True)
                whole = time.perf_counter() - began
                if turn:  # the first only warms the file cache
                    seconds[name].append(json.loads((out / "run.json").read_text())["seconds"] | {"whole": whole})
    print(f"\n| encoder | whole process | {' | '.join(STAGES)} |\n| --- |" + " --- |" * (len(STAGES) + 1))
    for name, runs in seconds.items():
        whole = [run["whole"] for run in runs]
        cells = [f"{statistics.median(run[stage] for run in runs):.2f}" for stage in STAGES]
        span = f"{statistics.median(whole):.2f} ({min(whole):.2f} to {max(whole):.2f})"
        print(f"| {name} | {span} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
