"""Every command and the program of the README, as printed, in processes of their own."""

import re
import subprocess
import sys
from pathlib import Path

from conftest import ROOT
from pages import README, commands, furnish


def test_commands_and_python_run_as_printed(tmp_path: Path, checkpoints: Path) -> None:
    furnish(tmp_path, checkpoints)
    printed = commands(README)
    assert len(printed) > 10
    for command in printed:
        typed = command.replace("python run.py", f"'{sys.executable}' '{ROOT}/run.py'")
        result = subprocess.run(["bash", "-c", typed], cwd=tmp_path, capture_output=True, text=True)
        assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"
    (program,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", (ROOT / README).read_text(), re.DOTALL)
        if "build(" in block
    ]
    output = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert output == program.rsplit("# ", 1)[1]  # what its last comment says that it prints
