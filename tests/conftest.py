"""Shared by all tests: the command line as typed, media files made on the spot, published-layout checkpoints."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from zygote import RUN, Forked, stop

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
GOLDENS = ROOT / "tests" / "goldens"
SPEECH = EXAMPLES / "librivox_male.wav"
PHOTO = EXAMPLES / "astronaut.png"
# Small untrained networks: what a test of the machinery around them needs.
TINY = ["encoder.weights=random", "decoder=normalized", "decoder.weights=random", "decoder.model.width=0.02"]
TINY_AST = ["encoder=ast_tiny", "encoder.model.depth=1", *TINY]
TINY_PAPER = ["encoder=paper", "encoder.model.channels=[4,4,4,4,4,4,4,4,4]", "encoder.model.hidden=16", *TINY]
FORKS = sys.platform == "linux"
# The files that take longest, in the order in which they are dealt out (--dist loadfile --no-loadscope-reorder).
LONGEST = [
    "test_training",
    "test_pages",
    "test_evaluate",
    "test_protocols",
    "test_command_line",
    "test_prepare",
    "test_goldens",
    "test_study",
    "test_export",
    "test_readme",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that the short ones fill what is left at the end."""
    items.sort(key=lambda item: [*LONGEST, item.path.stem].index(item.path.stem))


def pytest_configure(config: pytest.Config) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and what they start
    if not hasattr(config, "workerinput"):  # the process that starts those of xdist
        os.environ["CHECKPOINTS"] = tempfile.mkdtemp(prefix="checkpoints-")


def pytest_unconfigure(config: pytest.Config) -> None:
    stop()
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ["CHECKPOINTS"])


def run_py(
    *arguments: object, cwd: Path, status: int = 0, env: dict[str, str] | None = None, real: bool = False
) -> subprocess.CompletedProcess:
    """`python run.py ARGUMENTS`, its output as text; fails if the status is not `status`.

    real: in a process of its own from the start, and not forked from one that has imported the libraries.
    """
    words, environment = [str(argument) for argument in arguments], os.environ | (env or {})
    if real or not FORKS:
        command = [sys.executable, str(RUN), *words]
        result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    else:
        process = Forked(words, cwd, environment, session=False)
        result = subprocess.CompletedProcess(words, process.wait(), *process.communicate())
    assert result.returncode == status, result.stdout + result.stderr
    return result


def start_py(*arguments: object, cwd: Path) -> Forked | subprocess.Popen:
    """Start `python run.py ARGUMENTS` in a session of its own, so that signals can reach all its processes."""
    words = [str(argument) for argument in arguments]
    if FORKS:
        return Forked(words, cwd, os.environ)
    command, pipe = [sys.executable, str(RUN), *words], subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """`run_py` in an empty directory."""
    return partial(run_py, cwd=tmp_path)


def tone(seconds: float, rate: int, hertz: float = 440.0, level: float = 0.1) -> np.ndarray:
    """(samples,) float32 sine."""
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_audio(path: Path, samples: np.ndarray, rate: int, codec: str, layout: str = "mono", **options: str) -> Path:
    """Write (channels, samples) float32 with FFmpeg's `codec`; the container goes by the suffix."""
    samples = np.atleast_2d(samples).astype(np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.layout = layout
        resampler = av.AudioResampler(stream.codec_context.format or "fltp", layout, rate)
        step = 1024
        for start in range(0, samples.shape[1], step):
            interleaved = np.ascontiguousarray(samples[:, start : start + step].T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=layout)
            frame.sample_rate, frame.pts = rate, start
            for converted in resampler.resample(frame):
                container.mux(stream.encode(converted))
        container.mux(stream.encode(None))
    return path


def write_video(path: Path, samples: np.ndarray | None, rate: int = 44_100) -> Path:
    """A second of 64 x 64 video, with (samples,) of sound beside it or without any."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=rate, layout="mono") if samples is not None else None
        for level in range(0, 250, 10):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), level, np.uint8))))
        container.mux(video.encode(None))
        if audio is not None:
            for start in range(0, len(samples), 1024):
                frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="fltp", layout="mono")
                frame.sample_rate, frame.pts = rate, start
                container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def transformers_ast(**settings: object):
    """A small Audio Spectrogram Transformer of transformers', with weights large enough to tell networks apart."""
    import torch
    from transformers import ASTConfig, ASTForAudioClassification

    small = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 64}
    torch.manual_seed(0)
    model = ASTForAudioClassification(ASTConfig(**small | {"num_labels": 4096} | settings)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.fixture(scope="session")
def checkpoints() -> Path:
    """Full-size checkpoints in the five published layouts, filled with the goldens' reproducible random numbers."""
    directory = Path(os.environ["CHECKPOINTS"])
    lock = os.open(directory, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)  # another of xdist's processes may be making them
    if len(list(directory.iterdir())) < 5:
        command = [sys.executable, GOLDENS / "make_checkpoints.py", directory]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    os.close(lock)
    return directory


@pytest.fixture(scope="session")
def goldens() -> dict[str, np.ndarray]:
    return dict(np.load(GOLDENS / "goldens.npz"))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a.ravel() @ b.ravel() / np.linalg.norm(a) / np.linalg.norm(b))
