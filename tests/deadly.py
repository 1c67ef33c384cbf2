"""A reader of photos that dies of one; in a module of its own, as each of the processes that read imports it."""

import os
import signal


class Deadly:
    """Reads photos, and dies of one."""

    def __call__(self, files: list) -> list[dict]:
        if any("deadly" in file.path for file in files):
            os.kill(os.getpid(), signal.SIGKILL)
        return [{"width": 7} for _ in files]
