"""Training as typed: every part learns, goes on where it was killed, and leaves weights that can be used."""

import csv
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import ROOT, run_py, start_py
from PIL import Image
from safetensors.torch import load_file
from scipy.interpolate import RBFInterpolator
from scipy.signal import lfilter

from speech2face.data.dataset import read_dataset
from speech2face.decoders.warp import RIDGE, warp
from speech2face.encoders.base import EncoderNetwork
from speech2face.encoders.ge2e import GE2E
from speech2face.preprocessing.audio import Audio
from speech2face.preprocessing.mel import MelSpectrogram
from speech2face.talkers.population import landmarks, portraits
from speech2face.talkers.traits import draw_person
from speech2face.training import augmentation, losses
from speech2face.training.data import Clips, Portraits
from speech2face.training.loop import Interrupts
from speech2face.training.mixture import Shuffled
from speech2face.training.trunks import cache_trunks, has_trunk
from speech2face.training.voice import VoiceTraining

FACE = ["pipeline=train_face", "encoder.model.width=0.125", "preprocessing.size=64", "preprocessing.crop=none"]
DECODER = ["pipeline=train_decoder", "encoder.weights=face", "decoder.model.width=0.03", "decoder.model.warp=true"]
VOICE = ["pipeline=train_voice", "encoder=ast_tiny", "encoder.model.depth=1", "encoder.model.stride=16"]
VOICE += ["encoder.model.max_frames=98", "preprocessing.features.max_frames=98", "preprocessing.window_seconds=1.0"]
VOICE += ["face.weights=face", "decoder.weights=decoder"]
VOICE += ["training.losses.layer=1", "training.losses.distillation=200"]
SHORT = ["data.root=people", "trainer.max_epochs=2", "batch_size=8", "workers=1", "device=cpu"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with 40 people, and a face encoder and a decoder that were trained on them."""
    home = tmp_path_factory.mktemp("training")
    talkers = ["data=talkers", "data.people=40", "data.clips=1", "data.photos=2", "data.seconds=1.0"]
    train(home, *FACE, *SHORT, *talkers, "hydra.run.dir=train_face")  # which makes them first
    person = next(row["person"] for row in rows(home / "people" / "people.csv") if row["split"] == "train")
    (home / "people" / person / "audios" / "damaged.wav").write_bytes(b"RIFF")
    (home / "face").symlink_to(home / "train_face" / "weights" / "best")
    train(home, *DECODER, *SHORT, "hydra.run.dir=train_decoder")
    (home / "decoder").symlink_to(home / "train_decoder" / "weights" / "best")
    return home


def train(home: Path, *arguments: str, **options: object) -> subprocess.CompletedProcess:
    return run_py(*arguments, cwd=home, env={"OMP_NUM_THREADS": "1"}, **options)


def tensors(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return load_file(run / "weights" / name / "model.safetensors")


def rows(table: Path) -> list[dict[str, str]]:
    with open(table, newline="") as file:
        return list(csv.DictReader(file))


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_every_part_learns_and_its_weights_can_be_used(home):
    train(home, *VOICE, *SHORT, "hydra.run.dir=train_voice")
    assert "passed over" in (home / "train_voice" / "run.log").read_text()
    (lost,) = rows(home / "train_voice" / "results.csv")
    assert lost["input"].endswith("damaged.wav") and lost["status"] == "passed_over" and lost["error"]
    weights = home / "train_voice" / "weights" / "best"
    train(home, "pipeline=speech", f"audio={ROOT}/examples/librivox_male.wav", "decoder.weights=decoder",
          f"encoder.weights={weights}", "encoder=ast", "hydra.run.dir=speech")  # fmt: skip
    train(home, "pipeline=face", f"image={ROOT}/examples/astronaut.png", "decoder.weights=decoder",
          "encoder=resnet", "encoder.weights=face", "hydra.run.dir=face_run")  # fmt: skip
    for run in ("speech", "face_run"):
        assert [row["status"] for row in rows(home / run / "results.csv")] == ["done"]
    assert "front end" in (home / "speech" / "run.log").read_text()
    for run in ("train_face", "train_decoder", "train_voice"):
        loss = [row for row in rows(home / run / "logs" / "metrics.csv") if row["train/loss"]]
        assert len(loss) == 2 and float(loss[1]["train/loss"]) < float(loss[0]["train/loss"])
        assert list((home / run / "logs").glob("events.out.tfevents.*"))
        for epoch in range(2):
            with Image.open(home / run / f"epoch_{epoch:03d}.png") as picture:
                assert picture.width > 400
        card = (home / run / "weights" / "best" / "README.md").read_text()
        assert f"run.py pipeline={run}" in card and "simulated people" in card and "| val/loss |" in card
        record = json.loads((home / run / "run.json").read_text())
        assert record["status"] == "finished" and record["metrics"]["val/loss"] > 0
    assert any("classifier" in name for name in tensors(home / "train_face"))
    assert all(float(row["val/traits"]) > 0 for row in rows(home / "train_voice/logs/metrics.csv") if row["val/loss"])


def test_a_decoder_learns_to_draw_what_voices_give_too(home):
    voice = ["+encoder@voices.mine=ast_tiny", "voices.mine.model.depth=1", "voices.mine.weights=random"]
    counts = []
    for more in ([], voice, [*voice, "training.voices_of={glasses: none, beard: none}"]):
        out = train(home, *DECODER, *SHORT, *more, "trainer.max_epochs=1", f"hydra.run.dir=voices{len(more)}").stderr
        counts.append(int(re.search(r"(\d+) rows to train on", out)[1]))
    people = [row for row in rows(home / "people" / "people.csv") if row["split"] == "train"]
    bare = sum(row["glasses"] == row["beard"] == "none" for row in people)
    assert counts == [2 * len(people), 3 * len(people), 2 * len(people) + bare]
    drawn = Portraits([np.zeros((3, 4096)), np.ones((2, 4096))], np.arange(4), np.zeros((4, 72, 2)),
                      np.arange(4), [np.array([0, 0, 3]), np.array([3, 1])])  # fmt: skip
    items = [drawn[0, row] for row in range(5)]
    assert [item["from_photo"] for item in items] == [True, True, True, False, False]
    assert [int(item["picture"]) for item in items] == [0, 0, 3, 3, 1]
    assert [float(item["embedding"][0]) for item in items] == [0, 0, 0, 1, 1]
    error = train(home, *DECODER, *SHORT, "training.voices=['encoder=nothing']", status=1).stderr
    assert "+encoder@voices.ast=ast" in error  # how it is written now
    error = train(home, *DECODER, *SHORT, *voice, "training.voices_of={glasses: monocle}", status=1).stderr
    assert "nobody in people.csv has a recording and these traits" in error


def test_a_mixture_of_two_voices_is_nearest_to_the_voice_whose_face_it_has():
    embedding, photo = torch.randn(64, 4096), torch.arange(64) < 32
    batch = {"embedding": embedding, "from_photo": photo}
    moved = augmentation.mix_voices(batch, torch.Generator().manual_seed(0))
    assert torch.equal(moved[photo], embedding[photo])
    nearest = torch.cdist(moved, embedding[~photo])[~photo].argmin(1)
    assert torch.equal(nearest, torch.arange(32))
    away = (moved - embedding).norm(dim=1)[~photo]
    assert away[away > 0].min() > 0 and 20 < away.max() < 4096**0.5  # two are sqrt(2 * 4096) = 90.5 from each other


def test_slim_weights_are_half_as_large_and_do_the_same(home):
    train(home, "pipeline=convert", "encoder=resnet", "encoder.weights=face", "pipeline.slim=true",
          "hydra.run.dir=slim")  # fmt: skip
    large, small = (home / "face" / "model.safetensors"), (home / "slim" / "model.safetensors")
    assert small.stat().st_size < 0.5 * large.stat().st_size
    embeddings = []
    for name in ("face", "slim"):
        train(home, "pipeline=face", "encoder=resnet", f"encoder.weights={name}", "decoder.weights=decoder",
              f"image={ROOT}/examples/astronaut.png", "precision=fp32", f"hydra.run.dir=seen_{name}")  # fmt: skip
        embeddings.append(np.load(home / f"seen_{name}" / "astronaut" / "embedding.npy"))
    a, b = embeddings
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.9999
    assert "Trained by Speech2Face" in (home / "slim" / "README.md").read_text()


def test_killed_and_resumed_is_as_if_never_killed(home):
    """With augmentation, all-to-all pairs, two phases, several epochs, and a moving average of the weights."""
    command = [*VOICE, *SHORT, "trainer.max_epochs=4", "training.head_epochs=1", "training.ema=0.8"]
    train(home, *command, "hydra.run.dir=whole")
    process = start_py(*command, "hydra.run.dir=killed", cwd=home)
    while not (home / "killed" / "checkpoints" / "last.ckpt").exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(random.uniform(0, 1))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    between = tensors(home / "killed")
    train(home, *command, "resume=killed")
    assert same(tensors(home / "whole"), tensors(home / "killed"))
    assert not same(tensors(home / "whole"), between) or process.returncode == 0
    logged = [row for table in (home / "killed").rglob("metrics.csv") for row in rows(table) if row["val/loss"]]
    assert {row["epoch"] for row in logged} == {"0", "1", "2", "3"}


def test_a_frozen_trunk_hears_every_recording_once(home):
    command = [*VOICE, *SHORT, "trainer.max_epochs=3", "encoder.model.depth=2", "training.versions=2"]
    train(home, *command, "encoder.train=last:1", "trainer.max_epochs=1", "hydra.run.dir=begun")
    start, last = tensors(home / "begun"), [f"encoder.weights={home / 'begun' / 'weights' / 'last'}"]
    first = train(home, *command, *last, "encoder.train=head", "hydra.run.dir=head").stderr
    again = train(home, *command, *last, "encoder.train=head", "hydra.run.dir=head_again").stderr
    assert "hearing train recordings" in first and "hearing" not in again
    learnt = tensors(home / "head")
    assert {name for name in learnt if not torch.equal(learnt[name], start[name])} == {"head.weight", "head.bias"}
    assert same(learnt, tensors(home / "head_again"))
    assert (home / "head" / "epoch_002.png").exists()
    train(home, *command, *last, "encoder.train=last:1", "trainer.max_epochs=1", "hydra.run.dir=last")
    learnt = tensors(home / "last")
    changed = {".".join(n.split(".")[:2]) for n in learnt if not torch.equal(learnt[n], start[n])}
    assert changed == {"blocks.1", "norm.weight", "norm.bias", "head_norm.weight", "head_norm.bias", "head.weight",
                       "head.bias"}  # fmt: skip
    error = train(home, *command, *last, "encoder.train=last:3", status=1).stderr
    assert "encoder.train=last:3: AudioSpectrogramTransformer has 2 stages" in error


@torch.inference_mode()
def test_the_cache_of_a_trunk_has_its_outputs_for_the_versions_of_the_recordings(home, tmp_path):
    dataset = read_dataset(home / "people")
    speakers = dataset.split("train")[:4]
    network = GE2E(hidden=4).eval()
    clips = Clips(dataset.root, dataset.files["speech"], speakers, np.arange(5), np.ones((4, 4096), np.float32),
                  Audio(MelSpectrogram()), seconds=1.0, seed=3)  # fmt: skip
    assert has_trunk(network)
    fresh = {(epoch, row): clips[epoch, row] for epoch in range(2) for row in range(len(clips))}
    cache_trunks(clips, network, {}, 2, tmp_path, "cpu", "fp32", 3, 0, "some")
    for (epoch, row), item in fresh.items():
        for later in (epoch, epoch + 2):
            cached = clips[later, row]
            torch.testing.assert_close(cached["trunk"], network.trunk(item["features"][None])[0])
            assert cached["row"] == item["row"] and cached["person"] == item["person"]
        assert not torch.equal(clips[0, row]["trunk"], clips[1, row]["trunk"])
    files = set(tmp_path.iterdir())
    network.head.bias.add_(1)
    cache_trunks(clips, network, {}, 2, tmp_path, "cpu", "fp32", 3, 0, "some")
    assert set(tmp_path.iterdir()) == files  # the head is not in the trunk
    network.lstm[0].bias_hh_l0.add_(1)
    cache_trunks(clips, network, {}, 2, tmp_path, "cpu", "fp32", 3, 0, "some")
    assert len(set(tmp_path.iterdir())) == 2 * len(files)


def test_several_datasets_at_once_and_people_without_photos(home):
    """Of those sex and consistency are learnt. Their names are those of people of the other dataset."""
    others = home / "others"
    for row in rows(home / "people" / "people.csv")[:12]:
        shutil.copytree(home / "people" / row["person"] / "audios", others / row["person"] / "audios")
    lines = [f"{row['person']},{row['sex']}" for row in rows(home / "people" / "people.csv")[:12]]
    (others / "people.csv").write_text("\n".join(["person,sex", *lines]) + "\n")
    command = [*VOICE, *SHORT, "trainer.max_epochs=1", "training.traits=[sex]"]
    mixed = [*command, "training.losses.consistency=0.5", "data.mix={others: 2}", "+trainer.log_every_n_steps=1"]
    said = train(home, *mixed, "hydra.run.dir=mixed").stderr
    record = json.loads((home / "mixed" / "run.json").read_text())
    people, more = record["data"]["train"], record["data"]["mix"][str(others)]["train"]
    learners = [one for i, one in enumerate(sorted(others.glob("talker*"))) if i % 10]  # the rest is for validation
    recordings = sum(len(list((one / "audios").iterdir())) for one in learners)
    assert more == {"people": len(learners), "photos": 0, "recordings": recordings}
    assert f"{people['recordings'] + more['recordings']} rows to train on" in said
    logged = rows(home / "mixed" / "logs" / "metrics.csv")
    assert any(float(row["train/consistency"] or 0) > 0 for row in logged)
    card = json.loads((home / "mixed" / "weights" / "last" / "speech2face.json").read_text())["training"]
    assert card["data"]["mix"] == {"others": 2.0} and card["data"]["people"] > people["people"]
    train(home, *mixed, "encoder.train=head", "training.versions=2", "hydra.run.dir=mixed_head")
    train(home, *mixed, "trainer.max_epochs=2", "resume=mixed")
    error = train(home, *command, "resume=mixed", status=1).stderr
    assert "data.mix" in error and "training.losses.consistency" in error, error
    error = train(home, *command, "training.losses.traits=0", "data.mix={others: 2}", status=1).stderr
    assert "others: no person of split train has a recording and a photo" in error
    error = train(home, *FACE, *SHORT, "data.mix={others: 2}", status=1).stderr
    assert "data.mix: pipeline=train_face takes one dataset" in error
    error = train(home, *command, "data.mix={others: 0}", status=1).stderr
    assert "data.mix.others=0: must be a number, more than 0" in error
    error = train(home, *command, "data.mix={nowhere: 1}", status=1).stderr
    assert "data.mix=" in error and "nowhere" in error


def test_interrupted_training_says_how_to_go_on_and_leaves_weights(home):
    command = [*VOICE, *SHORT, "trainer.max_epochs=500", "hydra.run.dir=interrupted"]
    process = start_py(*command, cwd=home)
    while not (home / "interrupted" / "weights" / "last" / "README.md").exists() and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130 and "resume=" in said and "Traceback" not in said
    assert tensors(home / "interrupted")
    assert json.loads((home / "interrupted" / "run.json").read_text())["status"] == "interrupted"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_python_swallows_is_not_lost():
    class Swallows:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        interrupts = Interrupts()
        interrupts.setup(None, None, "fit")
        Swallows()
        with pytest.raises(KeyboardInterrupt):
            interrupts.on_train_batch_start()
        interrupts.teardown(stage="fit")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_loss_that_is_not_finite_stops_with_the_batch_named(home):
    command = [*VOICE, *SHORT, "training.lr=1e30", "trainer.gradient_clip_val=null"]
    said = train(home, *command, "hydra.run.dir=nan", status=1).stderr
    line = next(line for line in said.splitlines() if line.startswith("error: "))
    assert "the loss is" in line and "batch" in line and "rows" in line and "Traceback" not in said


def test_a_full_disk_loses_nothing_that_is_saved(home):
    command = [*VOICE, *SHORT, "trainer.max_epochs=1"]
    train(home, *command, "hydra.run.dir=full")
    before = tensors(home / "full")
    limited = (
        f"ulimit -f 600; exec {sys.executable} {ROOT / 'run.py'} {' '.join(command)} trainer.max_epochs=3 resume=full"
    )
    done = subprocess.run(["bash", "-c", limited], cwd=home, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "to go on" in done.stderr and "Traceback" not in done.stderr
    assert same(tensors(home / "full"), before)
    train(home, *command, "trainer.max_epochs=3", "resume=full")
    assert json.loads((home / "full" / "weights" / "last" / "speech2face.json").read_text())["training"]["epoch"] == 2


@pytest.fixture
def trained(home, tmp_path) -> Path:
    """A copy of a finished training of two epochs, and people to go on with."""
    shutil.copytree(home / "train_face", tmp_path / "run")
    (tmp_path / "people").symlink_to(home / "people")
    return tmp_path


AGAIN = [*FACE, *SHORT, "trainer.max_epochs=3", "resume=run"]


def settings_of(home: Path) -> list[str]:
    """The absolute root of the dataset, which a copy of the run elsewhere must name."""
    return [f"data.root={home / 'people'}"]


def test_a_training_goes_on_only_with_its_settings(home, trained):
    before = (trained / "run" / "run.json").read_bytes(), (trained / "run" / ".hydra" / "effective.yaml").read_bytes()
    same_data = settings_of(home)
    for change, message in {
        "training.lr=0.01": "training.lr=0.002 (now 0.01)",
        "batch_size=4": "batch_size=8 (now 4)",
        "training.losses.traits=0": "training.losses.traits=0.3 (now 0.0)",
        "encoder.model.width=0.25": "encoder.model.width=0.125 (now 0.25)",
        "seed=1": "seed=0 (now 1)",
    }.items():
        said = train(trained, *AGAIN, *same_data, change, status=1).stderr
        (error,) = [line for line in said.splitlines() if line.startswith("error")]
        assert message in error and "resume_changed=true" in error and "Traceback" not in said
    files = (trained / "run" / "run.json").read_bytes(), (trained / "run" / ".hydra" / "effective.yaml").read_bytes()
    assert files == before
    wider = train(trained, *AGAIN, *same_data, "encoder.model.width=0.25", "resume_changed=true", status=1).stderr
    assert "error: resume=" in wider and "its checkpoint is of another network" in wider and "Traceback" not in wider
    train(trained, *AGAIN, *same_data, "training.lr=0.01", "batch_size=4", "resume_changed=true", "workers=0")
    card = (trained / "run" / "weights" / "last" / "README.md").read_text()
    assert "| changed after epoch 2 | `batch_size 8 -> 4, training.lr 0.002 -> 0.01` |" in card
    rates = [row for table in (trained / "run").rglob("resumed_*/metrics.csv") for row in rows(table)]
    optimizer = torch.load(trained / "run" / "checkpoints" / "last.ckpt", weights_only=True)["optimizer_states"][0]
    assert {group["initial_lr"] for group in optimizer["param_groups"]} == {0.01} and rates
    said = train(trained, *AGAIN, *same_data, status=1).stderr  # the settings of the last epoch count from now on
    assert "training.lr=0.01 (now 0.002)" in said
    said = train(trained, *AGAIN, *same_data, "training.lr=0.01", "batch_size=4", "training.patience=3").stderr
    assert "all 3 epochs had been done: nothing was left to train" in said
    card = json.loads((trained / "run" / "weights" / "last" / "speech2face.json").read_text())
    assert "changed after epoch 2" in card["training"]["recipe"] and card["training"]["epoch"] == 2


def test_a_training_of_more_people_is_another_one(home, trained):
    (trained / "people").unlink()
    shutil.copytree(home / "people", trained / "people", symlinks=True)
    (trained / "train").mkdir()
    command = [*FACE, *SHORT, "trainer.max_epochs=1", "hydra.run.dir=mine"]
    train(trained, *command)
    table = trained / "people" / "people.csv"
    lines = table.read_text().replace(",test,", ",train,", 1)
    table.write_text(lines)
    command[-2:] = ["trainer.max_epochs=2", "resume=mine"]
    said = train(trained, *command, status=1).stderr
    assert re.search(r"data\.train\.people=(\d+) \(now \d+\)", said) and "Traceback" not in said
    said = train(trained, *command, "resume_changed=true", status=1).stderr
    assert "its checkpoint is of another network" in said and "Traceback" not in said


def test_a_damaged_checkpoint_gives_way_to_the_best_one(home, trained):
    checkpoints = trained / "run" / "checkpoints"
    whole = (checkpoints / "last.ckpt").read_bytes()
    for epochs, damaged in (3, b""), (4, whole[: len(whole) // 2]):  # the best one may be the last one
        (checkpoints / "last.ckpt").write_bytes(damaged)
        said = train(trained, *AGAIN, *settings_of(home), f"trainer.max_epochs={epochs}").stderr
        assert "last.ckpt: damaged, it cannot be read" in said and f"from {checkpoints / 'best.ckpt'}" in said
        assert same(tensors(trained / "run"), load_epoch(checkpoints / "last.ckpt"))
    for file in checkpoints.iterdir():
        file.write_bytes(b"PK")
    before = (trained / "run" / "run.json").read_bytes()
    said = train(trained, *AGAIN, *settings_of(home), status=1).stderr
    assert "error: resume=" in said and "no checkpoint can be read; start anew" in said and "Traceback" not in said
    assert (trained / "run" / "run.json").read_bytes() == before
    for file in checkpoints.iterdir():
        file.unlink()
    said = train(trained, *AGAIN, *settings_of(home), "trainer.max_epochs=1").stderr
    assert "no checkpoint was saved there; the training starts anew" in said
    assert json.loads((trained / "run" / "weights" / "last" / "speech2face.json").read_text())["training"]["epoch"] == 0


def load_epoch(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The network's tensors in a checkpoint."""
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    return {name.removeprefix("network."): value for name, value in state.items() if name.startswith("network.")}


def test_the_last_checkpoint_is_that_of_the_last_epoch(home):
    """Whether or not the epoch is the best one."""
    last = torch.load(home / "train_face" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"] == 2
    assert same(tensors(home / "train_face"), load_epoch(home / "train_face" / "checkpoints" / "last.ckpt"))


def test_recordings_that_are_all_silent_end_a_training_with_one_line(home, tmp_path):
    shutil.copytree(home / "people", tmp_path / "people", ignore=shutil.ignore_patterns("prepared"))
    for file in tmp_path.glob("people/*/audios/*"):
        with wave.open(str(file), "wb") as audio:
            audio.setparams((1, 2, 16_000, 0, "NONE", "not compressed"))
            audio.writeframes(bytes(32_000))
    (tmp_path / "face").symlink_to(home / "face")
    (tmp_path / "decoder").symlink_to(home / "decoder")
    for workers in range(2):
        said = train(tmp_path, *VOICE, *SHORT, f"workers={workers}", f"hydra.run.dir=out{workers}", status=1).stderr
        (error,) = [line for line in said.splitlines() if line.startswith("error")]
        assert error.endswith("people: no recording can be read: each one is damaged or silent (see above)")
        assert "Traceback" not in said


def test_a_terminated_training_is_recorded(home):
    command = [*FACE, *SHORT, "trainer.max_epochs=500", "hydra.run.dir=terminated"]
    process = start_py(*command, cwd=home)
    out = home / "terminated"
    while not (out / "checkpoints" / "last.ckpt").exists() and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGTERM)  # as a batch system does: to the processes that read, too
    said = process.communicate()[1]
    assert process.returncode == 143 and "resume=" in said and "Traceback" not in said
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
    assert not [path for path in out.rglob("*") if "partial" in path.name]
    command[-2:] = ["trainer.max_epochs=2", "resume=terminated"]
    assert "continues after epoch" in train(home, *command).stderr


def test_two_processes_train_together(home):
    train(home, *FACE, *SHORT, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "hydra.run.dir=ddp",
          real=True)  # fmt: skip
    steps = json.loads((home / "ddp" / "weights" / "last" / "speech2face.json").read_text())["training"]["steps"]
    alone = json.loads((home / "train_face" / "weights" / "last" / "speech2face.json").read_text())["training"]["steps"]
    assert 0 < steps <= alone // 2 + 1
    assert json.loads((home / "ddp" / "run.json").read_text())["status"] == "finished"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["data.root=nowhere"], "no such directory"),
        (["training.pairing=some"], "training.pairing=some: must be one of all_to_all, one_to_one, all_to_one"),
        (["trainer.accelerator=tpu"], "trainer"),
        (
            [
                "training.losses={normalized: 0, layer: 0, distillation: 0, contrastive: 0, length: 0, traits: 1}",
                "training.traits=[]",
            ],
            "switched off",
        ),
        (["face.weights=null"], "has no weights"),
        (["training.traits=sex"], "training.traits=sex: must be a list"),
        (["training.augment=5"], "training.augment=5: must be a number, at least 0, at most 1"),
        (["training.patience=abc"], "training.patience=abc: must be a whole number"),
        (["training.lr=abc"], "training.lr=abc: must be a number"),
        (["training.losses.contrastive=abc"], "training.losses.contrastive=abc: must be a number"),
        (["+training.losses.contrastif=1"], "did you mean training.losses.contrastive?"),
        (["training.warmup=5"], "training.warmup=5: must be a number, at least 0, at most 1"),
        (["trainer.max_epochs=0"], "trainer.max_epochs=0 trains nothing"),
        (["+trainer.max_steps=0"], "trainer.max_steps=0 trains nothing"),
        (["trainer.max_epochs=abc"], "trainer.max_epochs=abc: must be a whole number"),
        (["trainer.nosuch=1"], "trainer.nosuch: there is no such option: see"),
        (["training.head=[nosuch]"], "the encoder's class states its head"),
        (["encoder@face=paper"], "face=paper takes a voice"),
    ],
)
def test_mistakes_are_one_line(home, change, message):
    said = train(home, *VOICE, *SHORT, *change, "hydra.run.dir=mistake_" + str(abs(hash(message))), status=1).stderr
    errors = [line for line in said.splitlines() if line.startswith("error")]
    assert len(errors) == 1 and message in errors[0] and "Traceback" not in said


# The warp


@pytest.fixture(scope="module")
def faces():
    people = [draw_person(1, index) for index in range(4)]
    picture = portraits(people, None)[0].float() / 255
    points = torch.from_numpy(landmarks(people, None)).unflatten(1, (72, 2))[:, :48]  # none of them coincide
    return picture, points


def test_warp_onto_the_same_points_changes_nothing(faces):
    picture, points = faces
    assert torch.allclose(warp(picture, points, points), picture, atol=1e-3)


def test_warp_is_a_thin_plate_spline(faces):
    """Against scipy's: a picture of its own coordinates shows where each pixel was fetched from."""
    _, points = faces
    moved = points + 3 * torch.randn(points.shape, generator=torch.Generator().manual_seed(0))
    axis = torch.arange(224.0)
    coordinates = torch.stack(torch.meshgrid(axis, axis, indexing="xy")).expand(4, -1, -1, -1)
    found = warp(coordinates, points, moved, step=1)[0]
    side = np.linspace(0, 223, 5)
    border = np.array([(x, y) for x in side for y in side if x in (0, 223) or y in (0, 223)])
    controls = np.concatenate([moved[0].double().numpy(), border])
    values = np.concatenate([points[0].double().numpy(), border])
    spline = RBFInterpolator(controls, values, kernel="thin_plate_spline", smoothing=RIDGE * 224**2)
    places = np.array([(x, y) for y in range(20, 200, 12) for x in range(20, 200, 12)])
    ours = found[:, places[:, 1], places[:, 0]].T.numpy()
    assert np.abs(ours - spline(places)).max() < 0.5
    others = points.roll(1, 0)  # between faces the field is smooth enough for every fourth pixel
    assert (warp(coordinates, points, others) - warp(coordinates, points, others, step=1)).abs().max() < 0.3


def test_warp_has_the_gradients_that_differences_give(faces):
    picture, points = faces
    generator = torch.Generator().manual_seed(0)
    smooth = F.avg_pool2d(picture[:1, :2, ::14, ::14], 5, 1, 2).double().requires_grad_()
    source = (points[:1, ::6] / 14).double().requires_grad_()
    target = (source.detach() + 0.2 * torch.randn(source.shape, generator=generator).double()).requires_grad_()
    assert torch.autograd.gradcheck(warp, (smooth, source, target), eps=1e-5, atol=1e-3)


# Losses and what is random


def test_losses_have_their_closed_forms():
    a, b = torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0]])
    assert losses.normalized_distance(a, b).item() == pytest.approx(0.4**2 + 0.8**2)
    assert losses.normalized_distance(a, 7 * a).item() == pytest.approx(0, abs=1e-6)
    assert losses.layer_distance(a, b).item() == pytest.approx(6)
    assert losses.length(a, b).item() == pytest.approx(np.log(5) ** 2)
    x, y = torch.randn(5, 7), torch.randn(5, 7)
    entropy = -((y / 2).softmax(1) * (x / 2).log_softmax(1)).sum(1).mean()
    assert losses.distillation(x, y).item() == pytest.approx(entropy.item(), rel=1e-5)
    people = torch.arange(4)
    assert losses.contrastive(torch.zeros(4, 9), torch.randn(4, 9), people).item() == pytest.approx(np.log(4), rel=1e-5)
    assert losses.contrastive(torch.eye(4), torch.eye(4), people, 0.01).item() == pytest.approx(0, abs=1e-6)
    alone = losses.contrastive(torch.randn(4, 9), torch.randn(4, 9), torch.zeros(4))  # nobody else to tell them from
    assert alone.item() == pytest.approx(0, abs=1e-6)
    unknown = losses.trait_loss(torch.randn(2, 1), torch.full((2,), torch.nan))
    assert unknown.item() == 0 and losses.trait_loss(torch.randn(2, 3), torch.tensor([-1, -1])).item() == 0


def test_traits_are_predicted_from_the_input_of_the_head_and_train_the_layers_below_it():
    torch.manual_seed(0)

    class Network(EncoderNetwork):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = torch.nn.Linear(8, 16), torch.nn.Linear(16, 4096)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(x).tanh())

    network = Network()
    training = VoiceTraining(network, loss_weights={"traits": 1.0}, classes={"sex": 2, "voice_pitch_hz": 1})
    heard = torch.randn(64, 8)
    pitch = heard[:, 0].masked_fill(torch.arange(64) < 4, torch.nan)  # some are not known
    batch = {"features": heard, "face": torch.randn(64, 4096), "person": torch.arange(64), "voice_pitch_hz": pitch}
    batch["sex"] = (heard[:, 1] > 0).long().masked_fill(torch.arange(64) > 60, -1)
    below, above = network.body.weight.clone(), network.head.weight.clone()
    optimizer = torch.optim.Adam(training.parameters(), 0.02)
    for _ in range(200):
        optimizer.zero_grad()
        loss = training.terms(batch, None)["traits"]
        loss.backward()
        optimizer.step()
    assert loss < 0.05  # a constant prediction has (0.69 + 1) / 2
    assert not torch.equal(network.body.weight, below) and torch.equal(network.head.weight, above)
    assert set(VoiceTraining(network, loss_weights={"length": 1.0}, classes={}).terms(batch, None)) == {"length"}


def test_processes_share_the_rows_and_every_epoch_has_its_order():
    shares = [list(Shuffled(10, 0, rank, 3)) for rank in range(3)]
    assert {len(share) for share in shares} == {4}
    assert {row for share in shares for _, row in share} == set(range(10))
    sampler = Shuffled(10, 0)
    first = [row for _, row in sampler]
    sampler.set_epoch(1)
    assert [row for _, row in sampler] != first and [epoch for epoch, _ in sampler] == [1] * 10
    sampler.set_epoch(0)
    assert [row for _, row in sampler] == first
    repeating = Shuffled(10, 0, repeat=True)  # trainer.overfit_batches: the same rows with the same augmentation
    repeating.set_epoch(1)
    assert list(repeating) == list(sampler)


def test_balanced_epochs_have_each_person_equally_often():
    starts = np.array([0, 1, 100, 103, 110])  # people of 1, 99, 3 and 7 recordings
    shares = [[row for _, row in Shuffled(110, 0, rank, 2, starts=starts)] for rank in range(2)]
    drawn = np.searchsorted(starts, np.concatenate(shares), side="right") - 1
    assert len(drawn) == 110 and max(np.bincount(drawn)) - min(np.bincount(drawn)) <= 1
    assert len(set(np.concatenate(shares)[drawn == 1].tolist())) > 20  # not always the same of somebody's
    again = Shuffled(110, 0, 0, 2, starts=starts)
    assert [row for _, row in again] == shares[0]
    again.set_epoch(1)
    assert [row for _, row in again] != shares[0]


def test_speed_perturbation_moves_the_pitch_and_not_the_length():
    time_axis = np.arange(32_000) / 16_000
    hertz = []
    for seed in range(30):
        heard = augmentation.perturb_speed(np.sin(2 * np.pi * 200 * time_axis), np.random.default_rng(seed))
        assert heard.shape == time_axis.shape
        hertz.append(np.argmax(np.abs(np.fft.rfft(heard * np.hanning(len(heard))))) / 2)
    semitones = 12 * np.log2(np.array(hertz) / 200)
    assert abs(semitones.mean()) < 0.5 and 0.5 < semitones.std() < 1.6


def test_vocal_tract_perturbation_moves_the_formants_and_not_the_pitch():
    rate, pitch = 16_000, 100
    pulses = (np.arange(2 * rate) % (rate // pitch) == 0).astype(float)
    for hertz in (900, 2600):  # resonances 150 Hz wide
        radius = math.exp(-math.pi * 150 / rate)
        pulses = lfilter([1], [1, -2 * radius * math.cos(2 * math.pi * hertz / rate), radius**2], pulses)

    def formants(waveform: np.ndarray) -> np.ndarray:
        power = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)))) ** 2  # half a Hz apart
        harmonics = power[2 * pitch :: 2 * pitch]
        assert harmonics.sum() > 0.3 * power.sum(), "the pitch has moved"
        return np.array([np.average(range(a, b), weights=harmonics[a - 1 : b - 1]) for a, b in ((5, 15), (19, 35))])

    before = formants(pulses)
    for factor in (0.9, 1.0, 1.1):
        ratio = formants(augmentation.perturb_vocal_tract(pulses, factor)) / before
        assert ratio == pytest.approx(factor, abs=0.03)
    assert np.abs(augmentation.perturb_vocal_tract(pulses, 1.0) - pulses).max() < 1e-6 * np.abs(pulses).max()


def test_augmentation_keeps_who_speaks_and_how_long():
    rate, seconds = 16_000, 2.0
    time_axis = np.arange(int(rate * seconds)) / rate
    voiced = sum(np.sin(2 * np.pi * 140 * k * time_axis) / k for k in range(1, 20)).astype(np.float32)
    for seed in range(5):
        heard = augmentation.augment_recording(voiced, np.random.default_rng(seed))
        assert heard.shape == voiced.shape and np.isfinite(heard).all() and not np.allclose(heard, voiced)
        assert np.array_equal(heard, augmentation.augment_recording(voiced, np.random.default_rng(seed)))
        spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
        assert np.argmax(spectrum[: len(spectrum) // 16]) * rate / len(heard) % 140 == pytest.approx(0, abs=2)


def test_spec_augment_masks_bands_and_frames_at_most():
    features = torch.ones(300, 128)
    masked = augmentation.spec_augment(features, -2, np.random.default_rng(3))
    assert features.all() and 0.6 <= masked.mean() < 1
    frames = (masked == 0).all(1)
    assert 0 < frames.sum() <= 60 and (masked[~frames] == masked[~frames][0]).all()


def test_a_prior_draws_faces_and_goes_on_where_it_was_interrupted(home):
    """Its untrained network is the Gaussian model; training starts from that."""
    train(home, *VOICE, *SHORT, "trainer.max_epochs=1", "hydra.run.dir=for_prior")
    voice = [
        "encoder=ast_tiny",
        "encoder.weights=for_prior/weights/best",
        "decoder=normalized",
        "decoder.weights=decoder",
    ]
    command = ["pipeline=train_prior", *voice, "encoder@face=resnet", "face.weights=face", *SHORT]
    command += ["prior.model.components=4", "prior.model.learnt=3", "prior.model.width=16", "training.versions=1"]
    train(home, *command, "trainer.max_epochs=0", "hydra.run.dir=gaussian")
    train(home, *command, "trainer.max_epochs=1", "hydra.run.dir=prior")
    train(home, *command, "resume=prior")
    train(home, *command, "hydra.run.dir=whole_prior")
    first, later, whole = tensors(home / "gaussian"), tensors(home / "prior"), tensors(home / "whole_prior")
    assert not first["network.4.weight"].any() and whole["network.4.weight"].any()
    assert torch.equal(first["basis"], whole["basis"]) and first["readout"].any(1).all()
    assert torch.equal(later["basis"], whole["basis"]) and later["network.4.weight"].any()
    assert whole["correcting"].shape == (3, 3) and not torch.equal(first["correcting"], whole["correcting"])
    metrics = json.loads((home / "whole_prior" / "run.json").read_text())["metrics"]
    assert 0 < metrics["val/energy_ratio"] < 1.5
    train(home, *voice, f"audio={ROOT}/examples/librivox_male.wav", "samples=2",
          "prior.weights=whole_prior/weights/last", "hydra.run.dir=drawn")  # fmt: skip
    assert len(list((home / "drawn").glob("*/samples/*.png"))) == 2
    wrong = train(home, *command, "encoder=ge2e", "encoder.weights=bundled", "hydra.run.dir=wrong", status=1).stderr
    assert "the faces mean nothing" in wrong
