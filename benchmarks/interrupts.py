"""Section of benchmarks/run.py: how soon a command ends after Control-C."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from harness import BUNDLED, ROOT, Bench

PHOTO = ROOT / "examples" / "astronaut.png"
PEOPLE, PHOTOS = 4, 64  # of the dataset that is prepared
TALKERS = ["data.people=40", "data.clips=2", "data.photos=1", "data.seconds=3"]
TRAINING = ["encoder=ast_tiny", "encoder.model.depth=1", "batch_size=16", "trainer.max_epochs=1000"]


def interrupts(bench: Bench) -> None:
    """Seconds from Control-C, in the middle of the work, to the end of the process and of those that it started."""
    bench.say("## Control-C", "")
    people, talkers = bench.home / "people", bench.home / "talkers"
    for person in range(PEOPLE):
        folder = people / str(person) / "images"
        folder.mkdir(parents=True)
        for number in range(PHOTOS):  # all different, by a byte at the end
            (folder / f"{number}.png").write_bytes(PHOTO.read_bytes() + bytes([person, number]))
    rows = [
        ["a folder of recordings", end(bench, [*BUNDLED["bundled ast"], f"audio={bench.clips(256)}"], "faces: ")],
        ["`pipeline=prepare`", end(bench, ["pipeline=prepare", f"data.root={people}"], f"{PHOTOS}/")],
        ["`pipeline=talkers`", end(bench, ["pipeline=talkers", *TALKERS, f"data.root={talkers}"], "8/40")],
    ]
    bench.run("pipeline=talkers", *TALKERS, f"data.root={talkers}")
    train = ["pipeline=train_voice", f"data.root={talkers}", f"training.cache={bench.home / 'cache'}", *TRAINING]
    rows.append(["`pipeline=train_voice`", end(bench, train, "Epoch 0:")])
    bench.explain("Seconds from the signal to the end of the command and of all processes that it started:")
    bench.table(["", "s"], rows)


def end(bench: Bench, arguments: list[str], begun: str) -> str:
    """Start a command, interrupt it when its output contains `begun`, and return the seconds until it has ended."""
    log = bench.home / "process.log"
    bench.count += 1
    command = [sys.executable, str(ROOT / "run.py"), *arguments, f"hydra.run.dir={bench.home / f'out{bench.count}'}"]
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command, cwd=bench.home, stdout=output, stderr=output, start_new_session=True, preexec_fn=_interruptible
        )
    try:
        while begun not in log.read_text(errors="replace"):
            if process.poll() is not None:
                sys.exit(f"{' '.join(command)}: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        began = time.perf_counter()
        os.killpg(process.pid, signal.SIGINT)
        process.wait()
        while _any_left(process.pid):
            time.sleep(0.05)
        return f"{time.perf_counter() - began:.1f}"
    finally:
        if _any_left(process.pid):
            os.killpg(process.pid, signal.SIGKILL)


def _interruptible() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it


def _any_left(group: int) -> bool:
    """Whether a process of a group is still running. One that has ended, but is not waited for, does not count."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of = status.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it has just ended
            continue
        if int(of) == group and state != "Z":
            return True
    return False
