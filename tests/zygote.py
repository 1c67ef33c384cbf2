"""`python run.py ARGUMENTS` without the seconds that imports take: every call is forked from a process that made them.

That process, a child of pytest's, has imported the libraries and nothing of speech2face: a call imports that afresh. It
has one thread, so that a fork of it is as sound as a process of its own. What a call does not have of its own is what
an interpreter reads when it starts (PYTHON* but for PYTHONPATH, the locale, OMP_NUM_THREADS: here 1, the seed of
hashes), and that it takes down every module at its end. Its own worker processes are forks, too. Tests of those and of
limits use a real process.
"""

import atexit
import gc
import importlib
import json
import logging
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NoReturn

RUN = Path(__file__).parents[1] / "run.py"
LIBRARIES = [
    *("av", "concurrent.futures.process", "dlib", "h5py", "hydra._internal.hydra", "hydra.core.plugins"),
    *("lightning.pytorch", "matplotlib.backends.backend_agg", "matplotlib.figure", "numpy", "omegaconf", "PIL.Image"),
    *("safetensors.torch", "scipy.interpolate", "scipy.signal", "scipy.stats", "skimage.metrics"),
    *("sklearn.decomposition", "sklearn.linear_model", "sklearn.model_selection", "torch", "torch.utils.tensorboard"),
    *("torchaudio", "torchvision", "tqdm", "yaml"),
]  # not pyarrow, which starts a thread


@cache
def server() -> subprocess.Popen:
    """The process that calls are forked from. It ends when its stdin does, with pytest."""
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=one_thread)


def stop() -> None:
    """End the server, if there is one."""
    if server.cache_info().currsize:
        server().stdin.close()
        server().wait()


def ask(call: dict[str, object]) -> int | None:
    """Send a call to the server; return its answer."""
    server().stdin.write(json.dumps(call) + "\n")
    server().stdin.flush()
    return json.loads(server().stdout.readline())


class Forked:
    """`subprocess.Popen([python, run.py, *arguments], cwd=cwd, env=env)`, its output captured as text.

    What takes longer than timeout (s) is killed: return code -SIGALRM. session: start a new session.
    """

    def __init__(
        self, arguments: list[str], cwd: Path, env: Mapping[str, str], timeout: int = 300, session: bool = True
    ) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.files = [Path(self.directory.name, name) for name in ("out", "err")]
        files = [os.devnull, *map(str, self.files)]
        call = {"arguments": arguments, "cwd": str(cwd), "env": dict(env), "files": files, "timeout": timeout}
        self.pid: int = ask(call | {"session": session})
        self.returncode: int | None = None

    def poll(self, options: int = os.WNOHANG) -> int | None:
        """The return code, or None while it runs. options: of os.waitpid."""
        if self.returncode is None:
            self.returncode = ask({"wait": [self.pid, options]})
        return self.returncode

    def wait(self) -> int:
        """The return code, when it has ended."""
        return self.poll(0)

    def communicate(self) -> tuple[str, str]:
        """What it has written to stdout and stderr when it has ended."""
        self.wait()
        with self.directory:
            out, err = (file.read_text() for file in self.files)
        return out, err


def serve() -> None:
    """Carry out the calls on stdin: fork and answer with the process, or wait for one and answer with its status."""
    logging.getLogger().addHandler(hydras := logging.NullHandler())  # where there is one, Lightning adds none
    sys.modules["pandas"] = None  # scikit-learn would import it where Gradio brought it, and it imports pyarrow
    for name in LIBRARIES:
        with suppress(ImportError):  # an extra that is not installed
            importlib.import_module(name)
    del sys.modules["pandas"]
    logging.getLogger().removeHandler(hydras)
    context = multiprocessing.get_context
    multiprocessing.get_context = lambda method=None: context("fork" if method == "spawn" else method)
    gc.collect()
    gc.freeze()
    assert len(os.listdir("/proc/self/task")) == 1, "a process with threads must not be forked"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with tempfile.TemporaryDirectory() as bytecode:
        sys.dont_write_bytecode, sys.pycache_prefix = False, bytecode  # only the first call compiles the modules
        while line := sys.stdin.readline():
            call = json.loads(line)
            if "wait" in call:
                ended, status = os.waitpid(*call["wait"])
                answer = os.waitstatus_to_exitcode(status) if ended else None
            elif not (answer := os.fork()):
                become(**call)
            print(json.dumps(answer), flush=True)


def become(
    arguments: list[str], cwd: str, env: dict[str, str], files: list[str], timeout: int, session: bool
) -> NoReturn:
    """Be the process that `python run.py ARGUMENTS` starts."""
    if session:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.alarm(timeout)
    for descriptor, file in enumerate(files):
        opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.chdir(cwd)
    os.environ.update(env)
    sys.path[:1] = [str(RUN.parent), *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = [str(RUN), *arguments]
    for name in [one for one in sys.modules if one.partition(".")[0] == "huggingface_hub"]:
        del sys.modules[name]  # it reads the environment when it is imported
    importlib.import_module("numpy").random.seed()  # of its own, as Python's is after a fork
    code: object = 0
    try:
        runpy.run_path(str(RUN), run_name="__main__")
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:
        code = 1
        traceback.print_exc()
    threading._shutdown()  # what Python does at its end, but for taking down every module, which takes longest
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else code is not None)


if __name__ == "__main__":
    serve()
