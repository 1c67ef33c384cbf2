"""Front ends against NumPy, torchaudio's own parameters and the published implementation's values."""

import numpy as np
import torch
from conftest import GOLDENS, SPEECH, cosine

from speech2face import build
from speech2face.preprocessing.audio import Audio
from speech2face.preprocessing.fbank import LogMelFilterBank
from speech2face.preprocessing.spectrogram import Spectrogram

INPUTS = {
    name: SPEECH if name == "long.wav" else GOLDENS / name for name in ("long.wav", "short.wav", "short_44k_stereo.m4a")
}


def test_articles_spectrogram_is_the_compressed_transform_of_each_frame() -> None:
    clip = np.random.default_rng(0).normal(size=96_000).astype(np.float32)
    result = Spectrogram("real_imaginary", centered=False)(torch.from_numpy(clip)[None]).numpy()
    assert result.shape == (1, 2, 257, 598)  # 6 s, article section 3
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    for frame in (0, 1, 300, 597):
        transform = np.fft.rfft(clip[160 * frame : 160 * frame + 400] * window, 512)
        for channel, part in enumerate((transform.real, transform.imag)):
            # to the power of 0.3 rounding near zero is magnified: compare what was compressed
            expanded = np.sign(result[0, channel, :, frame]) * np.abs(result[0, channel, :, frame]) ** (1 / 0.3)
            np.testing.assert_allclose(expanded, part, atol=1e-4)


def test_published_spectrogram_is_magnitude_and_phase_of_centred_frames() -> None:
    clip = np.random.default_rng(0).normal(size=96_000).astype(np.float32)
    result = Spectrogram("magnitude_phase", centered=True)(torch.from_numpy(clip)[None]).numpy()
    assert result.shape == (1, 2, 257, 601)
    window = np.pad(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400), 56)
    padded = np.pad(clip, 256)
    transform = np.fft.rfft(padded[160 * 300 : 160 * 300 + 512] * window)
    np.testing.assert_allclose(result[0, 0, :, 300], np.abs(transform) ** 0.3, rtol=1e-4)
    np.testing.assert_allclose(
        result[0, 1, :, 300], np.sign(np.angle(transform)) * np.abs(np.angle(transform)) ** 0.3, atol=2e-2
    )


def test_filter_bank_agrees_with_transformers() -> None:
    from transformers import ASTFeatureExtractor

    clip = np.random.default_rng(0).normal(0, 0.1, size=48_000).astype(np.float32)
    theirs = ASTFeatureExtractor(mean=-5.460994, std=3.1129124)(clip, sampling_rate=16_000, return_tensors="pt")
    ours = LogMelFilterBank()(torch.from_numpy(clip)[None])
    assert ours.shape == (1, 1024, 128)
    torch.testing.assert_close(ours, theirs.input_values, atol=1e-4, rtol=1e-4)


def test_any_number_of_frames() -> None:
    clip = torch.randn(2, 16_000)
    assert LogMelFilterBank(max_frames=None)(clip).shape == (2, 98, 128)
    assert LogMelFilterBank(max_frames=50)(clip).shape == (2, 50, 128)
    torch.testing.assert_close(LogMelFilterBank(max_frames=50)(clip), LogMelFilterBank(max_frames=None)(clip)[:, :50])


def test_features_of_the_published_front_ends(goldens: dict[str, np.ndarray]) -> None:
    paper = Audio(Spectrogram("magnitude_phase", centered=True), window_seconds=6.0)
    ast = Audio(LogMelFilterBank(), window_seconds=10.26)
    for name, path in INPUTS.items():
        features = paper(path).features[0, :, ::16, ::25].numpy()
        # Their 16-bit temporary file moves the phase of silent bins: the magnitude agrees closely, the phase mostly.
        assert cosine(features[0], goldens[f"paper/{name}/features"][0]) > 0.999
        assert np.median(np.abs(features[1] - goldens[f"paper/{name}/features"][1])) < 0.02
        difference = np.abs(ast(path).features[0, ::25, ::8].numpy() - goldens[f"ast/{name}/features"])
        assert np.median(difference) < 0.01 and difference.mean() < 0.03
        level = 10 * np.log10(np.mean(np.square(paper(path).preview["waveform"], dtype=np.float64)))
        assert abs(level - goldens[f"paper/{name}/rms_dbfs"]) < 0.06  # theirs is rounded to 0.1 dB


def test_every_front_end_of_the_configuration_can_be_built_for_its_encoder() -> None:
    small = ["encoder.weights=random", "decoder=normalized", "decoder.weights=random", "decoder.model.width=0.02"]
    for override in ("encoder=paper", "encoder=ast_tiny"):
        pipeline = build("pipeline=speech", override, *small)
        assert pipeline(np.random.default_rng(0).normal(size=32_000), 16_000).embedding.shape == (4096,)
