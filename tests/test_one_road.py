"""One road into an encoder: training sees exactly what inference sees, front end by front end."""

import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import EXAMPLES, GOLDENS, PHOTO, SPEECH, write_audio
from torch import nn

from speech2face.config.compose import options_of, store_defaults
from speech2face.data.dataset import Files
from speech2face.encoders.base import EncoderNetwork
from speech2face.errors import UserError
from speech2face.pipelines import train_decoder, train_face
from speech2face.pipelines.training import Job
from speech2face.preparation.measure import recording
from speech2face.preparation.sources import File
from speech2face.preprocessing.audio import Audio, dbfs
from speech2face.preprocessing.decode import decode
from speech2face.run.record import Run
from speech2face.training.data import Clips
from speech2face.weights.front_end import build_front_end

store_defaults()
VOICES = ["fbank", "spectrogram", "spectrogram_published", "waveform"]
PHOTOS = ["image", "image_bgr", "image_imagenet"]
# Front ends' versions, and the mean and deviation of their features of one clip or photo. A change of code that changes
# these numbers has to raise the version: cached embeddings depend on it.
VERSIONS = {
    "fbank": ([3, 1], (-0.1892, 0.6215)),
    "spectrogram": ([3, 1], (-0.0004, 0.4388)),
    "spectrogram_published": ([3, 1], (0.1995, 0.8434)),
    "waveform": ([3, 1], (0.0120, 0.0696)),
    "image": ([3], (0.5015, 0.2987)),
    "image_bgr": ([3], (18.6940, 74.5264)),
    "image_imagenet": ([3], (0.2311, 1.2986)),
}


class Seen(EncoderNetwork):
    """Keeps what it is given."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.input = x
        return x.new_zeros(len(x), 4096).requires_grad_()


def front_end(name: str, *more: str):
    encoder = "ast_tiny" if name in VOICES else "resnet"
    pipeline = "speech" if name in VOICES else "face"
    part = options_of(f"pipeline={pipeline}", f"encoder={encoder}", f"preprocessing={name}", *more).encoder
    return build_front_end(part, Seen())


@pytest.mark.parametrize("name", VOICES)
@pytest.mark.parametrize("measured", [True, False], ids=["measured", "unmeasured"])
def test_training_hears_what_inference_hears(tmp_path: Path, name: str, measured: bool) -> None:
    """The first window of a recording, whether prepare has measured its level or not."""
    audio = front_end(name, "preprocessing.window_seconds=3.0")
    shutil.copy(SPEECH, tmp_path / "clip.wav")
    shutil.copy(EXAMPLES / "alsa_female.flac", tmp_path / "clip.flac")
    paths = ["clip.flac", "clip.wav"]
    table = None
    if measured:
        rows = [recording(tmp_path, File("someone", path, 1, 1)) for path in paths]
        assert all(row["seconds"] > 3 or path == "clip.flac" for path, row in zip(paths, rows, strict=True))
        table = pa.Table.from_pylist([row | {"path": path} for path, row in zip(paths, rows, strict=True)])
    files = Files(["someone"], np.array([0, 2]), paths, table, np.arange(2) if measured else None)
    faces = np.zeros((1, 4096), np.float32)
    clips = Clips(tmp_path, files, ["someone"], np.array([0, 1]), faces, audio, seconds=3.0, augment=0.0)
    for row, path in enumerate(paths):
        torch.testing.assert_close(clips[0, row]["features"], audio(tmp_path / path).features[0], rtol=0, atol=0)


ODD = {
    "offset": lambda clip: clip + np.float32(0.3),
    "silence first": lambda clip: np.concatenate([np.zeros(5 * 16_000, np.float32), clip]),
    "a pause first": lambda clip: np.concatenate([np.zeros(2 * 16_000, np.float32), clip]),
    "inverted channels": lambda clip: np.stack([clip, -clip]),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("measured", [True, False], ids=["measured", "unmeasured"])
def test_training_hears_what_inference_hears_of_odd_recordings(tmp_path: Path, kind: str, measured: bool) -> None:
    """Offset, silence and channels are treated alike, although training decodes no more than a window."""
    audio = front_end("spectrogram", "preprocessing.window_seconds=3.0")
    samples = ODD[kind](decode(SPEECH).waveform)
    layout = "stereo" if samples.ndim > 1 else "mono"
    write_audio(tmp_path / "clip.wav", samples, 16_000, "pcm_f32le", layout)
    table = None
    if measured:
        table = pa.Table.from_pylist([recording(tmp_path, File("someone", "clip.wav", 1, 1)) | {"path": "clip.wav"}])
    files = Files(["someone"], np.array([0, 1]), ["clip.wav"], table, np.arange(1) if measured else None)
    faces = np.zeros((1, 4096), np.float32)
    clips = Clips(tmp_path, files, ["someone"], np.array([0, 1]), faces, audio, seconds=3.0, augment=0.0)
    expected = audio(tmp_path / "clip.wav").features[0]
    torch.testing.assert_close(clips[0, 0]["features"], expected, rtol=0, atol=0)
    plain = audio(SPEECH).features[0]
    assert torch.nn.functional.cosine_similarity(expected.flatten(), plain.flatten(), dim=0) > 0.95


def test_training_leaves_out_the_windows_that_inference_leaves_out(tmp_path: Path) -> None:
    """Those in a pause, whose noise is far below the level of the speech."""
    audio = front_end("waveform", "preprocessing.window_seconds=2.0", "preprocessing.windows=30")
    speech = decode(SPEECH, max_seconds=3.0).waveform
    pause = 10 ** (-70 / 20) * np.random.default_rng(0).normal(size=20 * 16_000).astype(np.float32)
    path = write_audio(tmp_path / "a.wav", np.concatenate([speech, pause, speech]), 16_000, "pcm_f32le")
    files = Files(["someone"], np.array([0, 1]), [path.name])
    faces = np.zeros((1, 4096), np.float32)
    clips = Clips(tmp_path, files, ["someone"], np.array([0, 1]), faces, audio, seconds=2.0)
    kept = 0
    for seed in range(30):
        with suppress(UserError):
            assert dbfs(clips.window(path, {}, np.random.default_rng(seed))) > audio.level_dbfs - 30
            kept += 1
    assert kept == pytest.approx(len(audio(path).features), abs=6) and kept < 20


def test_a_piece_is_what_the_whole_recording_has_there(tmp_path: Path) -> None:
    """With an offset, which is removed, at any place but the first half second."""
    audio = front_end("waveform", "preprocessing.window_seconds=null")
    write_audio(tmp_path / "clip.wav", decode(SPEECH).waveform + np.float32(0.3), 16_000, "pcm_f32le")
    whole = audio.read(tmp_path / "clip.wav")
    assert abs(float(whole.waveform.mean())) < 1e-3
    for start in (0.7, 2.5, 4.0):
        piece = audio.read(tmp_path / "clip.wav", start=start, seconds=3.0, level=whole.level_dbfs).waveform
        first = round(start * 16_000)
        np.testing.assert_allclose(piece, whole.waveform[first : first + len(piece)], atol=1e-6)


def captured(monkeypatch, tmp_path: Path, module, pipeline: str, *overrides: str) -> Job:
    """The job that a training pipeline would carry out."""
    jobs: list[Job] = []
    monkeypatch.setattr(module, "carry_out", lambda options, run, job: jobs.append(job) or 0)
    caches = [f"training.crops={tmp_path}/crops", f"training.cache={tmp_path}/embeddings"]
    options = options_of(f"pipeline={pipeline}", f"data.root={tmp_path}/people", "workers=1", *caches, *overrides)
    (tmp_path / "out").mkdir()
    getattr(module, pipeline)(options, Run(tmp_path / "out", []))
    return jobs[0]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(4):
        folder = tmp_path / "people" / f"person{number}" / "images"
        folder.mkdir(parents=True)
        shutil.copy(PHOTO, folder / "photo.png")
    return tmp_path


@pytest.mark.parametrize("name", PHOTOS)
def test_training_sees_what_inference_sees(monkeypatch, photos: Path, name: str) -> None:
    small = [f"preprocessing={name}", "preprocessing.size=96", "encoder.model.width=0.125", "encoder.weights=random"]
    job = captured(monkeypatch, photos, train_face, "train_face", *small)
    job.module.network = Seen()
    item = job.val[0, 0]
    job.module.embed({"photo": item["photo"][None]}, None)
    expected = front_end(name, "preprocessing.size=96")(PHOTO).features
    torch.testing.assert_close(job.module.network.input, expected, rtol=0, atol=0)
    assert job.loaded["encoder"].part.preprocessing["channel_order"] == ("bgr" if name == "image_bgr" else "rgb")


@pytest.mark.parametrize("name", PHOTOS)
def test_a_drawn_face_is_seen_in_training_as_a_photo_is(monkeypatch, tmp_path: Path, name: str) -> None:
    """The identity term of train_decoder: the same pixels, drawn or photographed, give the same input."""
    from speech2face.training.decoder import DecoderTraining

    image = front_end(name, "preprocessing.crop=none", "preprocessing.size=224")
    pixels = torch.randint(0, 256, (1, 224, 224, 3), dtype=torch.uint8)

    class Draws(nn.Module):
        def aligned(self, embedding):
            return torch.zeros(1, 72, 2), pixels.permute(0, 3, 1, 2).float() / 255

        def onto(self, landmarks, texture, back=False):
            return texture

    face = Seen()
    weights = {"identity": 1.0}
    module = DecoderTraining(Draws(), loss_weights=weights, normalize=image.normalize, frozen={"face": face})
    batch = {"embedding": torch.zeros(1, 4096), "picture": pixels, "landmarks": torch.zeros(1, 72, 2)}
    batch |= {"mask": torch.full((1, 224, 224), 2), "from_photo": torch.tensor([True])}
    module.terms(batch, None)
    torch.testing.assert_close(face.input, image(pixels[0].numpy()).features, rtol=0, atol=0)


def test_train_decoder_sees_drawn_faces_by_the_front_end_of_its_encoder(monkeypatch, photos: Path) -> None:
    from speech2face.data.dataset import Dataset

    normalized = {f"person{number}": f"person{number}/images/photo.png" for number in range(4)}
    monkeypatch.setattr(Dataset, "normalized", normalized)
    monkeypatch.setattr(Dataset, "landmarks", dict.fromkeys(normalized.values(), np.zeros((72, 2), np.float32)))
    small = ["preprocessing=image_bgr", "preprocessing.size=64", "encoder.model.width=0.125", "encoder.weights=random"]
    job = captured(monkeypatch, photos, train_decoder, "train_decoder", *small, "decoder.model.width=0.02")
    drawn = torch.rand(2, 3, 224, 224)
    small_drawn = torch.nn.functional.interpolate(drawn, (64, 64), mode="bilinear", antialias=True)
    mean = torch.tensor([93.5940, 104.7624, 129.1863]).view(3, 1, 1)  # rcmalli's, blue first
    torch.testing.assert_close(job.module.normalize(drawn), small_drawn.flip(1) * 255 - mean)


@pytest.mark.parametrize("name", VERSIONS)
def test_a_front_end_that_changes_raises_its_version(name: str) -> None:
    source = GOLDENS / "short.wav" if name in VOICES else PHOTO
    end = front_end(name)
    features = end(source).features.double()
    versions, (mean, deviation) = VERSIONS[name]
    assert (float(features.mean()), float(features.std())) == pytest.approx((mean, deviation), rel=1e-3, abs=1e-3)
    assert end.versions == versions


def test_a_clip_too_short_for_the_network_is_refused_in_one_line(tmp_path: Path) -> None:
    from speech2face.encoders.paper import PaperEncoder
    from speech2face.errors import UserError
    from speech2face.preprocessing.spectrogram import Spectrogram

    audio = Audio(Spectrogram(), window_seconds=None)
    network = PaperEncoder(channels=[2] * 9, hidden=4)
    audio.fit_to(network)
    samples = np.random.default_rng(0).normal(size=60_000)
    with pytest.raises(UserError, match=r"too short: \d+ samples, and the encoder needs \d\.\d+ s"):
        audio(samples[: audio.least_samples - 1], 16_000)
    assert network.eval()(audio(samples[: audio.least_samples], 16_000).features).shape == (1, 4096)
