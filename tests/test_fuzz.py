"""A few damaged files of every kind; `python tests/fuzz.py 10000` reads more."""

from pathlib import Path

import fuzz
import pytest

from speech2face.errors import UserError


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_damaged_files_end_in_a_result_or_in_a_line(tmp_path: Path, kind: str) -> None:
    problems = [f"{found[0].name} {found[1]}" for found in fuzz.failures(kind, 60, seed=0, folder=tmp_path) if found]
    assert not problems, problems


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_the_files_are_damaged_but_not_beyond_recognition(tmp_path: Path, kind: str) -> None:
    """Otherwise the test above would test little: some are read, others are not, and the whole ones are all read."""
    read, outcomes = fuzz.KINDS[kind][1], []
    for suffix, content in fuzz.seeds(kind).items():
        (tmp_path / f"whole.{suffix}").write_bytes(content)
        read(tmp_path / f"whole.{suffix}")
    for number in range(60):
        name, content = fuzz.case(kind, 0, number)
        assert (name, content) == fuzz.case(kind, 0, number)
        assert content != fuzz.seeds(kind)[name.partition(".")[2]]
        (tmp_path / name).write_bytes(content)
        try:
            read(tmp_path / name)
            outcomes.append("read")
        except UserError:
            outcomes.append("refused")
    assert min(outcomes.count("read"), outcomes.count("refused")) >= 5, outcomes


def test_what_raises_crashes_or_hangs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fuzz.KINDS, "bad", (lambda: {"x": bytes(range(256)) * 9}, misbehave))
    monkeypatch.setattr(fuzz, "LIMIT_SECONDS", 0.5)
    found = [failure[1] for failure in fuzz.failures("bad", 4, seed=0, folder=tmp_path) if failure]
    assert [text.split()[0] for text in found] == ["raises", "crashes", "takes", "is"]
    assert len(list(tmp_path.iterdir())) == 4


def misbehave(path: Path) -> None:
    import os
    import signal
    import time

    if path.name == "0.x":
        raise RuntimeError("damaged")
    if path.name == "1.x":
        os.kill(os.getpid(), signal.SIGKILL)
    if path.name == "2.x":
        time.sleep(30)
    if path.name == "3.x":
        raise UserError("two\nlines")
