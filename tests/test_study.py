"""The study of docs/study.md, all of its commands in order: few people, two small encoders, one seed, one epoch."""

import json
import re
import shlex
import shutil
from pathlib import Path

from conftest import ROOT, run_py
from pages import blocks

ENCODER = """
import torch
from speech2face.encoders.base import EncoderNetwork

class MeanVoice(EncoderNetwork):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(514, 4096)

    def trunk(self, x):
        return x.mean(dim=-1).flatten(1)
"""
CONFIGURATION = """
defaults:
  - /preprocessing@preprocessing: spectrogram
modality: speech
weights: null
init: null
train: all
model:
  _target_: mean_voice.MeanVoice
"""
EVALUATED = "max_seconds=2,4,8,16 face.encoder=dlib decoder=appearance hydra.sweep.dir=study/evaluate"
# What makes a week a minute. Each must be on the page.
SMALLER = {
    "data.people=10000": "data.people=12 data.clips=1 data.photos=1",
    "data.seconds=16": "data.seconds=3",
    "encoder=ast_tiny,ecapa,ge2e,paper,wavlm seed=0,1,2 'encoder.weights": "encoder=ge2e seed=0 'encoder.weights",
    "encoder=ast_tiny,ecapa,ge2e,paper,wavlm": "encoder=ge2e,mean_voice",
    "encoder=ge2e,paper,ecapa": "encoder=ge2e,mean_voice",
    "seed=0,1,2": "seed=0",
    EVALUATED: EVALUATED.replace("2,4,8,16", "16"),
    "max_seconds=2,4,8,16": "max_seconds=2,16",
    "logger=[csv,mlflow]": "logger=csv",
    "n_trials=20": "n_trials=2",
    "pipeline=train_voice": "pipeline=train_voice trainer=cpu trainer.max_epochs=1 workers=0",
    "pipeline=evaluate": "pipeline=evaluate split=all samples=20 train_people=0 pictures=4",
    "pipeline=export": "pipeline=export --dry-run",  # tests/test_export.py writes graphs
    "pipeline=publish": "pipeline=publish --dry-run",
}


def test_the_study_runs(tmp_path: Path, capsys, monkeypatch) -> None:
    (tmp_path / "mean_voice.py").write_text(ENCODER)
    (tmp_path / "conf" / "encoder").mkdir(parents=True)
    (tmp_path / "conf" / "encoder" / "mean_voice.yaml").write_text(CONFIGURATION)
    page = (ROOT / "docs" / "study.md").read_text()
    commands = [line for block in blocks(page, "sh") for line in block.splitlines()]
    for long, short in SMALLER.items():
        assert any(long in command for command in commands), long
        commands = [command.replace(long, short) for command in commands]
    for number, command in enumerate(commands):
        words = shlex.split(command)
        assert words[:2] == ["python", "run.py"]
        run_py("-cd", "conf", *words[2:], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
        if number == 0:  # the group's own people: here simulated ones, of whom nothing is prepared
            shutil.copytree(tmp_path / "study" / "talkers", tmp_path / "study" / "people", symlinks=True)
            shutil.rmtree(tmp_path / "study" / "people" / "prepared")
    for name in ("encoders", "sources", "seconds"):
        assert "<table" in (tmp_path / "study" / "compare" / name / "comparison.html").read_text()
    monkeypatch.chdir(tmp_path)
    exec(blocks(page, "python")[0], {})
    printed = capsys.readouterr().out
    for source in ("people", "talkers"):
        assert re.search(rf"{source} +ge2e +16 s +\d\.\d+ ± 0\.000", printed), printed
    record = json.loads((tmp_path / "study" / "train" / "people" / "ge2e-0" / "run.json").read_text())
    assert record["status"] == "finished"
    assert (tmp_path / "study" / "search" / "trials.png").exists()
    table = (tmp_path / "study" / "train" / "people" / "comparison.csv").read_text()
    assert "ge2e" in table and "mean_voice" in table  # written anew by the sweep that went on
