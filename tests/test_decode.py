"""Decoding: every container, the right part of it, at the right rate, and nothing that is not sound."""

import struct
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from conftest import EXAMPLES, tone, write_audio, write_video
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly

from speech2face.errors import UserError
from speech2face.preprocessing.audio import Audio, cut_windows, dbfs
from speech2face.preprocessing.decode import decode, resample

CODECS = [
    ("a.wav", "pcm_s16le"),
    ("a.wav", "pcm_u8"),
    ("a.wav", "pcm_s24le"),
    ("a.wav", "pcm_f32le"),
    ("a.flac", "flac"),
    ("a.mp3", "libmp3lame"),
    ("a.m4a", "aac"),
    ("a.ogg", "libopus"),
    ("a.opus", "libopus"),
    ("a.webm", "libopus"),
    ("a.aiff", "pcm_s16be"),
    ("a.mka", "ac3"),
]


@pytest.mark.parametrize(("name", "codec"), CODECS)
def test_every_codec_gives_the_tone_that_was_written(tmp_path: Path, name: str, codec: str) -> None:
    path = write_audio(tmp_path / name, tone(2, 48_000), 48_000, codec)
    decoded = decode(path)
    middle = decoded.waveform[8_000:24_000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert decoded.waveform.dtype == np.float32
    assert abs(len(decoded.waveform) / 16_000 - 2) < 0.06  # codecs may pad
    assert abs(np.argmax(spectrum) - 440) <= 1  # bins are 1 Hz wide
    assert dbfs(middle) == pytest.approx(20 * np.log10(0.1 / np.sqrt(2)), abs=0.5)
    assert not decoded.warnings


def test_sound_of_a_video(tmp_path: Path) -> None:
    waveform = decode(write_video(tmp_path / "a.mp4", tone(2, 44_100))).waveform
    assert dbfs(waveform[4_000:28_000]) == pytest.approx(-23, abs=0.3)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = tone(1, 16_000, 300), tone(1, 16_000, 700)
    path = write_audio(tmp_path / "a.wav", np.stack([left, right]), 16_000, "pcm_f32le", "stereo")
    np.testing.assert_allclose(decode(path).waveform, (left + right) / 2, atol=1e-6)
    for channels, layout in ((6, "5.1"), (8, "7.1"), (16, "hexadecagonal")):
        many = np.stack([tone(1, 16_000, 100 * (i + 1)) for i in range(channels)])
        path = write_audio(tmp_path / f"{channels}.wav", many, 16_000, "pcm_f32le", layout)
        np.testing.assert_allclose(decode(path).waveform, many.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_099, 44_100, 48_000, 96_000])
def test_resampling_keeps_the_band_and_removes_the_rest(rate: int) -> None:
    def error(hertz: float) -> float:
        result, exact = resample(tone(1, rate, hertz), rate, 16_000), tone(1, 16_000, hertz)
        assert len(result) == len(exact)
        return float(np.abs(result - exact * (hertz < 8_000))[1_000:-1_000].max()) / 0.1

    for hertz in (100, 1_000, 3_000, 0.44 * min(rate, 16_000)):
        assert error(hertz) < 10 ** (-60 / 20)
    if rate > 18_000:
        assert error(8_500) < 10 ** (-90 / 20)  # would alias to 7.5 kHz


def test_resampling_agrees_with_scipy() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)
    noise = resample_poly(noise, 1, 4)  # nothing above 6 kHz, where filters may differ
    noise = resample_poly(noise, 4, 1).astype(np.float32)
    np.testing.assert_allclose(
        resample(noise, 48_000, 16_000)[500:-500], resample_poly(noise, 1, 3)[500:-500], atol=2e-3
    )


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mka"])
def test_offset_and_max_seconds_cut_to_the_sample(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000 * 8).astype(np.float32)
    noise = np.round(noise * 32_767) / 32_768
    path = write_audio(tmp_path / name, noise, 16_000, "flac" if name.endswith("flac") else "pcm_s16le")
    whole = decode(path).waveform
    part = decode(path, offset=3.25, max_seconds=1.5).waveform
    np.testing.assert_array_equal(part, whole[52_000:76_000])
    np.testing.assert_allclose(whole, noise, atol=1e-4)


def test_a_long_recording_costs_no_more_than_the_part_used(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with wave.open(str(path), "wb") as file:  # three hours
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        second = (tone(1, 16_000) * 32_767).astype("<i2").tobytes()
        for _ in range(3 * 3600 // 60):
            file.writeframes(second * 60)
    code = (
        "import resource, sys; from speech2face.preprocessing.decode import decode as d\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "n = len(d(sys.argv[1], offset=10_000.0, max_seconds=60).waveform)\n"
        "print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    output = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True).stdout
    samples, kibibytes = map(int, output.split())
    assert samples == 60 * 16_000
    assert kibibytes < 60_000  # the file is 345 MB


def test_a_recording_that_breaks_off_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    content = (EXAMPLES / "alsa_female.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(content[: len(content) // 2])
    whole = decode(EXAMPLES / "alsa_female.flac").waveform
    part = decode(tmp_path / "cut.flac")
    samples = len(part.waveform)
    assert 0.3 < samples / len(whole) < 0.7
    np.testing.assert_allclose(part.waveform[:-2_000], whole[: samples - 2_000], atol=1e-5)
    assert part.warnings == ["damaged or cut short: used what could be decoded"]


def test_some_samples_that_are_not_finite_become_silence(tmp_path: Path) -> None:
    samples = tone(1, 16_000)
    samples[100:200] = np.nan
    decoded = decode(write_audio(tmp_path / "a.wav", samples, 16_000, "pcm_f32le"))
    assert not decoded.waveform[100:200].any() and np.isfinite(decoded.waveform).all()
    assert decoded.warnings == ["100 samples were NaN or infinite: taken as silence"]


def test_tags_that_are_not_utf8_do_no_harm(tmp_path: Path) -> None:
    content = bytearray(write_audio(tmp_path / "a.wav", tone(1, 16_000), 16_000, "pcm_s16le").read_bytes())
    tags = b"INFOINAM" + struct.pack("<I", 8) + b"caf\xe9 \xff\xfe\0"
    content += b"LIST" + struct.pack("<I", len(tags)) + tags
    content[4:8] = struct.pack("<I", len(content) - 8)
    (tmp_path / "a.wav").write_bytes(content)
    assert len(decode(tmp_path / "a.wav").waveform) == 16_000


def make_bad(directory: Path, kind: str) -> Path:
    path = directory / f"{kind}.wav"
    if kind == "text":
        path.write_text("not audio at all\n" * 100)
    elif kind == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(50_000))
    elif kind == "empty":
        path.touch()
    elif kind == "header":
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
    elif kind == "instant":
        write_audio(path, tone(0.0002, 8_000), 8_000, "pcm_s16le")
    elif kind == "silent":
        write_audio(path, np.zeros(32_000), 16_000, "pcm_s16le")
    elif kind == "nan":
        write_audio(path, np.full(16_000, np.nan), 16_000, "pcm_f32le")
    elif kind == "mute":
        path = write_video(directory / "mute.mp4", None)
    elif kind == "directory":
        path.mkdir()
    elif kind == "playlist":  # must not make FFmpeg open the file that it names
        path.write_text(
            f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{EXAMPLES}/librivox_male.wav\n#EXT-X-ENDLIST"
        )
    elif kind == "concat":
        path.write_text(f"ffconcat version 1.0\nfile '{EXAMPLES}/librivox_male.wav'\n")
    return path


BAD = {
    "text": "not audio",
    "noise": "not audio",
    "empty": "empty",
    "header": "no audio could be decoded",
    "instant": "no audio could be decoded|silent",
    "silent": "silent",
    "nan": "NaN",
    "mute": "no audio",
    "directory": "directory",
    "playlist": "not audio",
    "concat": "not audio",
    "missing": "no such file",
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_not_sound_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = make_bad(tmp_path, kind)
    with pytest.raises(UserError, match=BAD[kind]) as caught:
        Audio(features=lambda windows: windows)(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_offset_after_the_end_is_refused() -> None:
    with pytest.raises(UserError, match=r"after 100 s, its length is 7\.1 s"):
        decode(EXAMPLES / "librivox_male.wav", offset=100)


def test_one_gain_brings_the_used_part_to_the_level_without_clipping() -> None:
    samples = tone(2, 16_000, level=0.001)
    samples[5_000] = 0.9  # a click: its peak goes above full scale rather than being cut
    prepared = Audio(features=lambda windows: windows, window_seconds=None)(samples, 16_000)
    loud = np.abs(samples) > 1e-6
    ratio = prepared.features[0].numpy()[loud] / samples[loud]
    assert dbfs(prepared.features.numpy()) == pytest.approx(-23, abs=1e-3)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
    assert prepared.features.max() > 1


@given(length=st.integers(1, 500), size=st.integers(1, 200), count=st.integers(1, 6))
@settings(max_examples=200, deadline=None)
def test_windows_cover_the_clip_evenly_or_repeat_it(length: int, size: int, count: int) -> None:
    clip = np.arange(length, dtype=np.float32)
    windows = cut_windows(clip, size, count)
    assert windows.shape[1] == size
    if length <= size:
        np.testing.assert_array_equal(windows, np.tile(clip, size // length + 1)[None, :size])
        return
    starts = windows[:, 0]
    assert len(windows) == count and starts[0] == 0
    np.testing.assert_array_equal(windows - starts[:, None], np.tile(np.arange(size), (count, 1)))
    if count > 1:
        assert windows[-1, -1] == length - 1
        assert np.ptp(np.diff(starts)) <= 1


@pytest.mark.parametrize("option", ["offset=-1", "max_seconds=0", "windows=0", "window_seconds=0"])
def test_impossible_options_are_refused(option: str) -> None:
    name, value = option.split("=")
    with pytest.raises(UserError, match=name):
        Audio(features=lambda windows: windows, **{name: int(value)})
