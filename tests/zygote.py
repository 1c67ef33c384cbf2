"""`python run.py ARGUMENTS` without the seconds that imports take: every call is forked from a process that made them.

That process, a child of pytest's, has imported the libraries and nothing of speech2face: a call imports that afresh. It
has one thread, so that a fork of it is as sound as a process of its own. What a call does not have of its own is what
an interpreter reads when it starts (PYTHON* but for PYTHONPATH, the locale, OMP_NUM_THREADS: here 1, the seed of
hashes), and that it takes down every module at its end. Its own worker processes are forks, too. Tests of those, of
signals and of limits use a real process.
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


def run_forked(arguments: list[str], cwd: Path, env: Mapping[str, str], timeout: int) -> subprocess.CompletedProcess:
    """As `subprocess.run([python, run.py, *arguments], cwd=cwd, env=env, capture_output=True, text=True)`.

    What takes longer than timeout (s) is killed: return code -SIGALRM.
    """
    with tempfile.TemporaryDirectory() as directory:
        out, err = Path(directory, "out"), Path(directory, "err")
        files = [os.devnull, str(out), str(err)]
        call = {"arguments": arguments, "cwd": str(cwd), "env": dict(env), "files": files, "timeout": timeout}
        server().stdin.write(json.dumps(call) + "\n")
        server().stdin.flush()
        code = int(server().stdout.readline())
        return subprocess.CompletedProcess(arguments, code, out.read_text(), err.read_text())


def serve() -> None:
    """Fork for every line of stdin; answer with the exit status."""
    logging.getLogger().addHandler(hydras := logging.NullHandler())  # where there is one, Lightning adds none
    for name in LIBRARIES:
        with suppress(ImportError):  # an extra that is not installed
            importlib.import_module(name)
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
            child = os.fork()
            if not child:
                become(**json.loads(line))
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def become(arguments: list[str], cwd: str, env: dict[str, str], files: list[str], timeout: int) -> NoReturn:
    """Be the process that `python run.py ARGUMENTS` starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.alarm(timeout)
    for descriptor, file in enumerate(files):
        opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.chdir(cwd)
    os.environ.update(env)
    sys.path[:1] = [str(RUN.parent), *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = [str(RUN), *arguments]
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
