"""What trackers store of a run, read back from their stores."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import PHOTO
from PIL import Image

from speech2face.config.compose import options_of, store_defaults
from speech2face.errors import UserError
from speech2face.run.record import Run
from speech2face.run.tracking import track_sweep, tracked

store_defaults()
METRICS = {"retrieval/cosine/all/R@1": 0.25, "undefined": None}


def evaluation(directory: Path, logger: str, earlier: dict | None = None) -> Run:
    """A run of pipeline=evaluate that has measured METRICS, drawn a picture and told its trackers."""
    directory.mkdir(exist_ok=True)
    options = options_of("pipeline=evaluate", "clips=7", "encoder@face=dlib", f"logger={logger}")
    run = Run(directory, [], earlier)
    run.begin()
    run.record["sweep"] = "sweeps/one"
    with tracked(options.logger, run):
        run.save_options(options)
        Image.open(PHOTO).resize((8, 8)).save(directory / "plots.png")
        (directory / "report.html").write_text("a report")
        run.record["metrics"] = METRICS
    return run


def test_csv_and_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = evaluation(tmp_path, "[csv,tensorboard]")
    table = (tmp_path / "logs" / "metrics.csv").read_text().splitlines()
    assert table[0].split(",") == ["retrieval/cosine/all/R@1", "step"] and table[1].startswith("0.25,")
    stored = EventAccumulator(str(tmp_path / "logs"), {"images": 0}).Reload()
    assert stored.Scalars("retrieval/cosine/all/R@1")[0].value == 0.25
    image = stored.Images("plots")[0]
    assert (image.width, image.height) == (8, 8)
    parameters = (tmp_path / "logs" / "hparams.yaml").read_text()
    assert "clips: 7" in parameters and run.record["git"]["commit"] in parameters
    assert "run.sweep: sweeps/one" in parameters


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.chdir(tmp_path)
    store = f"sqlite:///{tmp_path}/store.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    run = evaluation(tmp_path / "run", "mlflow")
    evaluation(tmp_path / "run", "mlflow", earlier=json.loads((tmp_path / "run" / "run.json").read_text()))
    (tmp_path / "run" / "multirun.yaml").write_text("seed: 0")
    track_sweep(options_of("pipeline=evaluate", "logger=mlflow").logger, tmp_path / "run", {"jobs": 2})
    client = mlflow.MlflowClient(store)
    found = client.search_runs([client.get_experiment_by_name("speech2face").experiment_id])
    assert len(found) == 2, "a resumed run is the same, and the sweep is one of its own"
    assert run.record["loggers"]["mlflow"] == found[1].info.run_id
    (sweep, one) = (each.data for each in found)
    assert sweep.params == {"jobs": "2"} and one.metrics == {"retrieval/cosine/all/R1": 0.25}
    assert one.params["clips"] == "7" and one.params["choices.encoder.face"] == "dlib"
    assert one.params["git.commit"] == run.record["git"]["commit"] and one.params["run.sweep"] == "sweeps/one"
    files = {file.path for folder in (None, "pictures") for file in client.list_artifacts(found[1].info.run_id, folder)}
    assert files == {"effective.yaml", "report.html", "pictures", "pictures/plots.png"}
    local = client.download_artifacts(found[1].info.run_id, "effective.yaml")
    assert Path(local).read_text() == (tmp_path / "run" / ".hydra" / "effective.yaml").read_text()
    assert found[1].info.status == "FINISHED"


def test_weights_and_biases_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):  # runs of one process are two
        evaluation(tmp_path / name, "wandb")
    wandb.teardown()  # waits for what is still to be written
    for name in ("one", "two"):
        (stored,) = (tmp_path / name / "wandb").glob("offline-run-*")
        assert (stored / "files" / ".hydra" / "effective.yaml").exists()
        (picture,) = (stored / "files" / "media" / "images").glob("plots_*.png")
        assert np.array_equal(Image.open(picture), Image.open(tmp_path / name / "plots.png"))
        content = next(stored.glob("*.wandb")).read_bytes()
        for text in ("git.commit", "choices.encoder.face", "retrieval/cosine/all/R@1", "sweeps/one", "report.html"):
            assert text.encode() in content


def test_a_logger_that_cannot_be_built_is_one_line(tmp_path: Path) -> None:
    options = options_of("pipeline=evaluate", "logger=csv", "+logger.csv.nosuch=1")
    with pytest.raises(UserError, match=r"^logger=csv: .*nosuch"), tracked(options.logger, Run(tmp_path, [])):
        pass
