"""Every command and the program of the README, as printed."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from conftest import ROOT, run_py
from pages import README, commands, furnish


def test_commands_and_python_run_as_printed(tmp_path: Path, checkpoints: Path) -> None:
    furnish(tmp_path, checkpoints)
    printed = commands(README)
    assert len(printed) > 10
    for number, command in enumerate(printed):
        words = shlex.split(command)
        assert words[:2] == ["python", "run.py"]
        run_py(*words[2:], cwd=tmp_path, real=number == 0)
    (program,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", (ROOT / README).read_text(), re.DOTALL)
        if "build(" in block
    ]
    output = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert output == program.rsplit("# ", 1)[1]  # what its last comment says that it prints
