"""The notebook of the examples runs from its first cell to its last, with the bundled weights."""

import json

import numpy as np
import pytest
from conftest import EXAMPLES


def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    notebook = json.loads((EXAMPLES / "notebook.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    monkeypatch.chdir(EXAMPLES)  # where Jupyter starts it
    names: dict[str, object] = {}
    for cell in cells:
        exec(cell, names)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("male (") and said[2].startswith("female (")
    assert names["cosine"] < 0.99
    assert len({sample.image.tobytes() for sample in names["man"].faces.samples}) == 4
    green = (np.asarray(names["picture"]) == (0, 255, 0)).all(axis=-1)
    assert 60 < green.sum() <= 72  # a few of the 72 landmarks share a pixel
