"""Parts as values: slots, what their classes state, several faces, and where a training starts."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import EXAMPLES, PHOTO, ROOT, SPEECH, TINY_AST, tone, transformers_ast, write_audio
from PIL import Image
from safetensors.torch import load_file
from torchvision.models import resnet18

import speech2face
from speech2face.config.compose import CONF, options_of, store_defaults
from speech2face.config.read import parts
from speech2face.encoders.ast import AudioSpectrogramTransformer
from speech2face.errors import UserError
from speech2face.inference.decoder import Decoder
from speech2face.run.record import Run
from speech2face.weights.load import load

OUTSIDE = {"PYTHONPATH": str(ROOT / "tests")}
store_defaults()


@pytest.fixture
def outside(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """`python run.py ARGUMENTS` with the encoder `raw` and the decoder `sampler` of tests/outside.py."""
    sampler = {"weights": "random", "model": {"_target_": "outside.Sampler"}}
    raw = {"modality": "speech", "weights": "random", "model": {"_target_": "outside.RawVoice"}}
    raw["defaults"] = [{"/preprocessing@preprocessing": "waveform"}]
    for group, name, text in (("decoder", "sampler", sampler), ("encoder", "raw", raw)):
        (tmp_path / "conf" / group).mkdir(parents=True)
        (tmp_path / "conf" / group / f"{name}.yaml").write_text(yaml.safe_dump(text))
    return lambda run, *arguments, **more: run("-cd", "conf", *arguments, env=OUTSIDE, **more)


def pixels(directory: Path) -> dict[str, np.ndarray]:
    return {
        str(file.relative_to(directory)): np.asarray(Image.open(file))
        for file in directory.rglob("*.png")
        if file.stem == "face" or file.parent.name == "samples"
    }


def test_samples_depend_neither_on_the_batch_nor_on_resuming(run, outside, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for number in range(3):
        write_audio(clips / f"{number}.wav", tone(1, 16_000, 200 + 100 * number), 16_000, "pcm_s16le")
    command = ["encoder=raw", "decoder=sampler", "samples=2", "preprocessing.window_seconds=1", "precision=fp32"]
    outside(run, *command, "audio=clips", "hydra.run.dir=one")
    outside(run, *command, "audio=clips", "batch_size=3", "hydra.run.dir=many")
    outside(run, *command, "audio=clips/1.wav", "hydra.run.dir=resumed")
    outside(run, *command, "audio=clips", "resume=resumed")
    one, many, resumed = (pixels(tmp_path / name) for name in ("one", "many", "resumed"))
    assert one.keys() == {f"{clip}/{face}.png" for clip in range(3) for face in ("face", "samples/1", "samples/2")}
    for name, image in one.items():
        assert image.shape == (80, 96, 3)
        np.testing.assert_allclose(many[name], image, atol=1)
        np.testing.assert_array_equal(resumed[name][:40], image[:40])
    assert len({tuple(image[0, 0]) for name, image in one.items() if "sample" in name}) > 3
    assert not list((tmp_path / "one").rglob("landmarks.csv"))  # this decoder knows none
    assert Image.open(tmp_path / "one" / "0" / "panel.png").width > 1000
    other = outside(run, *command, "audio=clips", "samples=3", "resume=resumed", status=1).stderr
    assert "another samples" in other


def test_a_decoder_of_one_face_refuses_samples(run) -> None:
    said = run("pipeline=face", f"image={PHOTO}", "samples=4", status=1).stderr
    assert "error: samples=4: AppearanceDecoder draws one face only; leave samples= out" in said


def test_faces_have_scores_and_a_generator_each() -> None:
    sys.path.insert(0, OUTSIDE["PYTHONPATH"])
    from outside import Sampler

    torch.manual_seed(0)
    decoder = Decoder(Sampler(), "cpu", "fp32", samples=3, seed=7)
    embeddings = torch.randn(4, 4096)
    together = decoder(embeddings)
    for row in (2, 0):
        alone = decoder(embeddings[row : row + 1])[0]
        assert np.array_equal(alone.image, together[row].image) and alone.landmarks is None
        for a, b in zip(alone.samples, together[row].samples, strict=True):
            assert np.array_equal(a.image, b.image) and a.score == b.score < 0
    other = Decoder(decoder.network, "cpu", "fp32", samples=3, seed=8)(embeddings)
    assert any(not np.array_equal(a.image, b.image) for a, b in zip(other[0].samples, together[0].samples, strict=True))


def test_an_encoder_of_waveforms_trains_and_is_used(run, outside, tmp_path: Path) -> None:
    talkers = ["data=talkers", "data.people=12", "data.clips=1", "data.photos=1", "data.seconds=1.0"]
    train = ["pipeline=train_voice", *talkers, "data.root=people", "encoder=raw", "preprocessing.window_seconds=1.0"]
    train += ["trainer.max_epochs=1", "batch_size=4", "workers=1", "device=cpu", "face.preprocessing.crop=none"]
    outside(run, *train, "training.losses.layer=1", "hydra.run.dir=voice")
    record = json.loads((tmp_path / "voice" / "run.json").read_text())
    assert record["weights"]["face"]["choice"] == "resnet" and record["weights"]["decoder"]["choice"] == "normalized"
    outside(run, f"audio={SPEECH}", "encoder=raw", "encoder.weights=voice/weights/best", "hydra.run.dir=used")
    row = (tmp_path / "used" / "results.csv").read_text().splitlines()[1]
    assert ",done," in row and ",7.1," in row


@pytest.mark.parametrize("form", ["directory", "file"])
def test_a_training_starts_from_a_published_backbone_of_another_width(tmp_path: Path, form: str) -> None:
    """AudioSet's transformer has 527 classes: every layer but the head is taken, and its front end."""
    from transformers import ASTFeatureExtractor

    published = transformers_ast(num_labels=527)
    published.save_pretrained(tmp_path / "ast")
    ASTFeatureExtractor(mean=-4.2677393, std=4.5689974).save_pretrained(tmp_path / "ast")
    source = tmp_path / "ast"
    if form == "file":
        source = tmp_path / "ast.pt"
        torch.save(published.state_dict(), source)
    part = options_of("pipeline=train_voice", f"encoder.init={source}").encoder
    loaded = load(part)
    network, theirs = loaded.network, published.audio_spectrogram_transformer
    assert isinstance(network, AudioSpectrogramTransformer) and network.head.weight.shape == (4096, 64)
    assert torch.equal(network.class_token, theirs.embeddings.cls_token)
    assert torch.equal(network.blocks[1].fc1.weight, theirs.layers[1].mlp.fc1.weight)
    assert torch.equal(network.head_norm.weight, published.classifier.layernorm.weight)
    assert loaded.part.preprocessing["features"]["std"] == (4.5689974 if form == "directory" else 3.1129124)
    assert loaded.part.weights == "random" and loaded.part.init == str(source) and loaded.untrained
    with pytest.raises(UserError, match=r"encoder\.init=nowhere\.pt: no such file"):
        load(options_of("pipeline=train_voice", "encoder.init=nowhere.pt").encoder)
    with pytest.raises(UserError, match=r"encoder\.weights=random"):
        load(options_of("pipeline=train_voice", f"encoder.init={source}", f"encoder.weights={source}").encoder)


def test_a_residual_network_starts_from_imagenet(run, tmp_path: Path) -> None:
    torch.manual_seed(1)
    imagenet = resnet18().state_dict()
    torch.save(imagenet, tmp_path / "resnet18.pt")
    for person in ("one", "two", "three"):
        (tmp_path / "people" / person / "images").mkdir(parents=True)
        shutil.copy(PHOTO, tmp_path / "people" / person / "images")
    run(
        "pipeline=train_face", "data.root=people", "encoder.init=resnet18.pt", "preprocessing.size=32", "workers=1",
        "training.lr=1e-9", "trainer.max_epochs=1", "batch_size=2", "device=cpu", "hydra.run.dir=out", "logger=csv",
    )  # fmt: skip
    trained = load_file(tmp_path / "out" / "weights" / "last" / "model.safetensors")
    for name in ("conv1.weight", "layer4.1.conv2.weight"):
        torch.testing.assert_close(trained[f"network.{name}"], imagenet[name], atol=1e-5, rtol=1e-5)
    assert trained["network.fc.weight"].shape == (4096, 512)
    run("-cd", "out/.hydra", "-cn", "effective", "hydra.run.dir=again")  # starts the same
    again = load_file(tmp_path / "again" / "weights" / "last" / "model.safetensors")
    assert again.keys() == trained.keys() and all(torch.equal(again[name], trained[name]) for name in trained)
    torch.save(imagenet | {"conv1.weight": imagenet["conv1.weight"] + 1}, tmp_path / "resnet18.pt")
    changed = run("-cd", "out/.hydra", "-cn", "effective", "hydra.run.dir=changed", status=1).stderr
    assert "resnet18.pt: the file has changed since the run that is repeated" in changed


def test_weights_are_averaged_by_convert(run, tmp_path: Path) -> None:
    for seed in (1, 2):
        run("pipeline=convert", "encoder=ast_tiny", "encoder.model.depth=1", "encoder.weights=random", f"seed={seed}",
            f"hydra.run.dir=w{seed}")  # fmt: skip
    run("pipeline=convert", "encoder=ast_tiny", "encoder.weights=w1", "average=[w2]", "hydra.run.dir=mean")
    one, two, mean = (load_file(tmp_path / name / "model.safetensors") for name in ("w1", "w2", "mean"))
    assert not torch.equal(one["head.weight"], two["head.weight"])
    for name, tensor in mean.items():
        torch.testing.assert_close(tensor, (one[name] + two[name]) / 2)
    card = json.loads((tmp_path / "mean" / "speech2face.json").read_text())
    assert [source["weights"] for source in card["mean_of"]] == ["w1", "w2"]
    run("pipeline=convert", "encoder=ast_tiny", "encoder.model.depth=2", "encoder.weights=random", "hydra.run.dir=w3")
    wrong = run("pipeline=convert", "encoder=ast_tiny", "encoder.weights=w1", "average=[w3]", status=1).stderr
    assert "weights of other networks" in wrong


def test_slots_compose_in_hydras_own_way() -> None:
    options = options_of(
        "pipeline=train_voice", "encoder@face=vgg_face", "face.weights=x.pt", "face.preprocessing.crop=none",
        "preprocessing=spectrogram", "preprocessing.windows=2",
    )  # fmt: skip
    found = parts(options)
    assert {slot: part.option for slot, part in found.items()} == {
        "encoder": "ast", "face": "vgg_face", "decoder": "normalized",
    }  # fmt: skip
    assert found["face"].preprocessing["crop"] == "none" and found["face"].model["_target_"].endswith("VGGFace")
    assert found["encoder"].preprocessing["features"]["_target_"].endswith("Spectrogram")
    assert found["encoder"].preprocessing["windows"] == 2
    as_before = options_of("pipeline=evaluate", "face.encoder=vgg_face", "pipeline.clips=2", "pipeline.split=all")
    assert (as_before.face.option, as_before.clips, as_before.split) == ("vgg_face", 2, "all")


@pytest.mark.parametrize("file", sorted((CONF / "experiment").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_experiment_composes_and_starts_from_another_ones_weights(file: Path) -> None:
    if file.stem.startswith("search"):
        pytest.importorskip("optuna", reason="the extra search is not installed")
    options = options_of(f"experiment={file.stem}")
    settings = [yaml.safe_load(one.read_text())["hydra"] for one in file.parent.glob("*.yaml")]
    assert all(("run" in one) != (one.get("mode") == "MULTIRUN") for one in settings)  # the studies are sweeps
    runs = [one["run"]["dir"] for one in settings if "run" in one]
    made = {one.partition(",")[2].rstrip("}") for one in runs}
    assert len(made) == len(runs)
    for part in parts(options).values():
        if part.weights and part.weights.startswith("outputs/"):
            assert part.weights.partition("/weights/")[0] in made


def test_a_recipe_wins_over_the_weights_front_end_as_typed_options_do() -> None:
    """The bundled face encoder brings crop=face; the recipes of talkers set crop=none."""
    options = options_of("experiment=bundled_voice_ast_3", "face.weights=bundled/talkers")
    assert load(options.face).preprocessing.crop == "none"
    assert load(options_of("pipeline=train_voice").face).preprocessing.crop == "face"


def test_build_works_in_threads_and_within_another_hydra_application(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as executor:
        built = list(executor.map(lambda seed: speech2face.build(*TINY_AST, f"seed={seed}"), (0, 1, 0, 1)))
    weights = [one.encoder.network.head.weight for one in built]
    assert torch.equal(weights[0], weights[2]) and not torch.equal(weights[0], weights[1])
    (tmp_path / "app.py").write_text(
        "import hydra, speech2face\n"
        "@hydra.main(version_base='1.3', config_path=None)\n"
        "def main(config):\n"
        f"    print(speech2face.build(*{TINY_AST!r})({str(SPEECH)!r}).face.shape)\n"
        "    print(hydra.core.hydra_config.HydraConfig.get().job.name)\n"
        "main()\n"
    )
    command = [sys.executable, "app.py"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-2:] == ["(224, 224, 3)", "app"]  # after a warning, which Hydra logs there


def test_a_run_of_the_version_before_is_repeated(run, tmp_path: Path) -> None:
    """Its effective.yaml has the front end beside the encoder, and no hash of the weights."""
    run(f"audio={SPEECH}", *TINY_AST, "hydra.run.dir=now")
    file = tmp_path / "now" / ".hydra" / "effective.yaml"
    old = yaml.safe_load(file.read_text())
    old["preprocessing"] = old["encoder"].pop("preprocessing")
    old["pipeline"] |= {"modality": "speech", "option": "audio"}
    old["choices"] = {"pipeline": "speech", "encoder": "ast_tiny", "decoder": "normalized", "preprocessing": "fbank"}
    old["image"], old["data"] = None, {"root": None, "audios": None}
    for key in ("metric", "samples"):
        del old[key]
    for part in ("encoder", "decoder"):
        del old[part]["sha256"], old[part]["init"]
    file.write_text(yaml.safe_dump(old))
    run("-cd", "now/.hydra", "-cn", "effective", "hydra.run.dir=again")
    a, b = (np.load(tmp_path / name / "librivox_male" / "embedding.npy") for name in ("now", "again"))
    assert np.array_equal(a, b)
    old["pipeline"] = {"_target_": "speech2face.pipelines.evaluate.evaluate", "name": "evaluate"}
    old["face"] = {"encoder": "resnet", "weights": "bundled", "overrides": [], "effective": None}
    file.write_text(yaml.safe_dump(old))
    said = run("-cd", "now/.hydra", "-cn", "effective", "hydra.run.dir=third", status=1).stderr
    assert (
        said.startswith("error: this run of pipeline=evaluate was configured by version 0.1") and said.count("\n") == 1
    )


def test_special_characters_survive_into_a_repeated_run(run, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "alsa_female.flac", tmp_path / "a${x}.flac")
    run("audio='a\\${x}.flac'", *TINY_AST, "hydra.run.dir=2024_06_01")
    assert (tmp_path / "2024_06_01" / "a${x}" / "face.png").exists()
    run("-cd", "2024_06_01/.hydra", "-cn", "effective", "hydra.run.dir=again")
    assert (tmp_path / "again" / "a${x}" / "face.png").exists()


def test_a_sweeper_gets_the_metric_that_is_asked_for(tmp_path: Path) -> None:
    run = Run(tmp_path, [], metric="val/cosine")
    run.record["metrics"] = {"val/cosine": 0.5, "best/loss": 2.0}
    assert run.objective() == "val/cosine"
    run.metric, run.own_metric = None, "best/loss"
    assert run.objective() == "best/loss"
    run.metric = "nosuch"
    with pytest.raises(UserError, match="metric=nosuch: not measured; there are val/cosine, best/loss"):
        run.objective()
    assert Run(tmp_path, []).objective() is None
