"""Odd recordings from the field: what is heard, what is warned of, and what is refused."""

import io
import struct
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from conftest import EXAMPLES, SPEECH, cosine, tone, write_audio

from speech2face import build
from speech2face.errors import UserError
from speech2face.preprocessing import speech as detector
from speech2face.preprocessing.audio import Audio
from speech2face.preprocessing.decode import decode
from speech2face.preprocessing.fbank import LogMelFilterBank
from speech2face.preprocessing.spectrogram import Spectrogram
from speech2face.preprocessing.waveform import Waveform
from speech2face.weights.ours import without_run_settings

RATE = 16_000
MALE, FEMALE = (decode(path).waveform for path in (SPEECH, EXAMPLES / "alsa_female.flac"))
CUT = "damaged or cut short: used what could be decoded"
NOISE = np.random.default_rng(0).normal(0, 1, 12 * RATE).astype(np.float32)


def zeros(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


@pytest.fixture(scope="module")
def encoders() -> dict:
    return {name: build(f"encoder={name}").encoder for name in ("ast", "paper")}


# Silence, offset, level


@pytest.mark.parametrize("encoder", ["ast", "paper"])
@pytest.mark.parametrize("clip", [MALE, FEMALE], ids=["male", "female"])
def test_silence_before_and_after_changes_no_face(encoders, encoder: str, clip: np.ndarray) -> None:
    alone = encoders[encoder](clip, RATE)
    click = np.r_[np.full(80, 0.5, np.float32), zeros(9)]
    for before, after in ((zeros(12), zeros(0)), (1e-3 * NOISE, zeros(3)), (zeros(0), zeros(30)), (click, zeros(0))):
        prepared = encoders[encoder].prepare(np.concatenate([before, clip, after]), RATE)
        silent = len(before) + len(after)
        assert prepared.measurements["audio_seconds"] == pytest.approx(len(clip) / RATE, abs=1.1)
        assert f"of {(silent + len(clip)) / RATE:.1f} s are silent" in prepared.warnings[0]
        assert cosine(encoders[encoder].encode([prepared.features])[0].numpy(), alone) > 0.99


def test_silent_windows_are_left_out_and_the_level_is_that_of_the_sound() -> None:
    audio = Audio(Waveform(), window_seconds=2.0, windows=5)
    prepared = audio(np.concatenate([MALE[: 3 * RATE], zeros(20), MALE[: 3 * RATE]]), RATE)
    alone = audio(MALE[: 3 * RATE], RATE)
    assert prepared.measurements["windows"] == 2 and any("3 of 5 windows silent" in one for one in prepared.warnings)
    assert prepared.measurements["level_dbfs"] == pytest.approx(alone.measurements["level_dbfs"], abs=0.05)
    assert [round(start) for start, _ in prepared.preview["heard"]] == [0, 24]


def test_windows_of_noise_count_little_beside_windows_of_speech() -> None:
    level = np.float32(np.sqrt(np.mean(MALE[: 6 * RATE] ** 2)))
    both = np.concatenate([MALE[: 6 * RATE], level * NOISE[: 6 * RATE]])
    encoder = build("encoder=paper", "preprocessing.window_seconds=3.0", "preprocessing.windows=4").encoder
    prepared = encoder.prepare(both, RATE)
    speech, noise = prepared.weights[:2], prepared.weights[2:]
    assert max(noise) < 0.3 * min(speech)
    each = np.stack([encoder.encode([one[None]])[0].numpy() for one in prepared.features])
    expected = np.average(each, axis=0, weights=prepared.weights)
    np.testing.assert_allclose(encoder(both, RATE), expected, atol=1e-4)
    np.testing.assert_allclose(encoder.encode([prepared.features])[0].numpy(), each.mean(0), atol=1e-4)


@pytest.mark.parametrize("encoder", ["ast", "paper"])
@pytest.mark.parametrize("offset", [0.5, -0.05, 0.02])
def test_a_constant_offset_is_no_sound(encoders, encoder: str, offset: float) -> None:
    alone = encoders[encoder].prepare(FEMALE, RATE)
    shifted = encoders[encoder].prepare(FEMALE + np.float32(offset), RATE)
    assert shifted.measurements["level_dbfs"] == pytest.approx(alone.measurements["level_dbfs"], abs=0.3)
    assert abs(float(shifted.preview["waveform"].mean())) < 2e-3
    embeddings = encoders[encoder].encode([alone.features, shifted.features]).numpy()
    assert cosine(*embeddings) > 0.999


@pytest.mark.parametrize("offset", [0.5, -0.1, 1e-3])
def test_a_dead_microphone_is_silent(tmp_path: Path, offset: float) -> None:
    path = write_audio(tmp_path / "dead.wav", np.full(3 * RATE, offset), RATE, "pcm_s16le")
    with pytest.raises(UserError, match="silent"):
        Audio(Waveform())(path)
    with pytest.raises(UserError, match="silent"):
        Audio(Waveform())(np.full(RATE, 128 + round(100 * offset), np.uint8), RATE)


def test_unsigned_samples_are_centred() -> None:
    unsigned = np.round(np.clip(MALE * 128, -128, 127) + 128).astype(np.uint8)
    exact, rough = Audio(Waveform())(MALE, RATE), Audio(Waveform())(unsigned, RATE)
    assert cosine(exact.features.numpy(), rough.features.numpy()) > 0.98


@pytest.mark.parametrize("name", ["late.wav", "late.mp3", "late.flac"])
def test_where_sound_begins_after_a_silent_part_is_said(tmp_path: Path, name: str) -> None:
    codec = {"late.wav": "pcm_s16le", "late.mp3": "libmp3lame", "late.flac": "flac"}[name]
    path = write_audio(tmp_path / name, np.concatenate([zeros(72), MALE]), RATE, codec)
    with pytest.raises(UserError, match=r"the first 60 s are silent; sound begins at 7[12]") as caught:
        Audio(Waveform())(path)
    offset = float(str(caught.value).rpartition("preprocessing.offset=")[2])
    assert offset == pytest.approx(72, abs=0.15)
    prepared = Audio(Waveform(), offset=offset)(path)
    assert prepared.measurements["audio_seconds"] == pytest.approx(7.1, abs=0.3)
    with pytest.raises(UserError, match=r"the 5 s from 10 s on are silent; sound begins at 7[12]"):
        Audio(Waveform(), offset=10.0, max_seconds=5.0)(path)


def test_a_recording_of_silence_is_not_said_to_go_on(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "silent.flac", zeros(100), RATE, "flac")
    with pytest.raises(UserError, match=r"silent \(level -inf dBFS, below -80\)$"):
        Audio(Waveform())(path)


# What is no speech


def music(seconds: float = 8.0) -> np.ndarray:
    """Chords of decaying harmonics on a scale, four beats in two seconds, with a beat of noise."""
    random, result = np.random.default_rng(1), np.zeros(round((seconds + 1) * RATE))
    for start in np.arange(0, seconds, 0.5):
        t = np.arange(RATE) / RATE
        for semitone in random.choice([0, 2, 4, 5, 7, 9, 11, 12], 3, replace=False):
            hertz = 220 * 2 ** (semitone / 12)
            note = sum(np.sin(2 * np.pi * hertz * k * t) / k * np.exp(-t * (2 + k)) for k in range(1, 8))
            result[round(start * RATE) :][: len(t)] += note * np.minimum(1, t / 0.005)
        result[round(start * RATE) :][: len(t)] += random.normal(size=len(t)) * np.exp(-t * 30)
    return (result[: round(seconds * RATE)] / 10).astype(np.float32)


NO_SPEECH = {
    "white noise": 0.1 * NOISE[: 8 * RATE],
    "quiet noise": 1e-3 * NOISE[: 8 * RATE],
    "brown noise": 0.01 * np.cumsum(NOISE[: 8 * RATE] - np.convolve(NOISE[: 8 * RATE], np.ones(200) / 200, "same")),
    "tone": tone(8, RATE),
    "beeps": tone(8, RATE, 425) * (np.arange(8 * RATE) // 4000 % 2),
    "buzz": 0.1 * np.sign(tone(8, RATE, 150)),
    "bursts of noise": 0.1 * NOISE[: 8 * RATE] * (np.arange(8 * RATE) // 2000 % 2),
    "music": music(),
}


@pytest.mark.parametrize("kind", NO_SPEECH)
def test_what_is_no_speech_is_warned_of_or_refused(kind: str) -> None:
    prepared = Audio(Waveform())(NO_SPEECH[kind].astype(np.float32), RATE)
    assert prepared.measurements["speech_share"] < 0.2
    assert any("hardly any speech" in warning for warning in prepared.warnings)
    with pytest.raises(UserError, match=r"hardly any speech.*preprocessing.require_speech=false"):
        Audio(Waveform(), require_speech=True)(NO_SPEECH[kind].astype(np.float32), RATE)


def test_speech_is_speech_at_any_level_and_in_some_noise() -> None:
    for clip in (MALE, FEMALE):
        noisy = clip + NOISE[: len(clip)] * clip.std() / 10  # 20 dB
        for heard in (clip, 1e-2 * clip, clip + np.float32(0.3), noisy):
            prepared = Audio(Waveform(), window_seconds=None, require_speech=True)(heard, RATE)
            assert prepared.measurements["speech_share"] > 0.6 and not prepared.warnings


def test_a_recording_that_is_mostly_music_has_a_small_share_of_speech() -> None:
    mixed = np.concatenate([music(40.0), MALE[: 4 * RATE]])
    prepared = Audio(Waveform(), window_seconds=None)(mixed, RATE)
    assert 0 < prepared.measurements["speech_share"] < 0.2 and "hardly any speech" in prepared.warnings[0]


@pytest.mark.parametrize("samples", [400, 3200])
def test_a_moment_of_sound_is_warned_of(samples: int) -> None:
    prepared = Audio(Waveform())(MALE[RATE : RATE + samples], RATE)
    assert prepared.warnings == [f"hardly any sound: {samples / RATE:.2f} s"]
    assert prepared.measurements["speech_share"] < (0.05 if samples < 1000 else 1.01)
    with pytest.raises(UserError, match="hardly any sound"):
        Audio(Waveform(), require_speech=True)(MALE[RATE : RATE + samples], RATE)


@pytest.mark.parametrize("samples", [1, 2, 10, 160, 399])
@pytest.mark.parametrize("features", [LogMelFilterBank(), Spectrogram(), Waveform()], ids=["fbank", "stft", "samples"])
@pytest.mark.parametrize("window", [6.0, None])
def test_less_than_a_frame_is_refused_in_one_line(samples: int, features, window: float | None) -> None:
    with pytest.raises(UserError, match=r"too short|silent") as caught:
        Audio(features, window_seconds=window)(NOISE[:samples] / 10, RATE)
    assert "\n" not in str(caught.value)


def test_silero_is_used_where_it_is_installed_and_sets_no_threads(monkeypatch) -> None:
    pytest.importorskip("silero_vad.data", reason="needs the extra `speech`")
    detector.silero_weights.cache_clear()
    threads = torch.get_num_threads()
    for clip, least, most in ((MALE, 0.6, 1.0), (FEMALE, 0.4, 1.0), (music(), 0.0, 0.1), (0.1 * NOISE, 0.0, 0.1)):
        assert least <= detector.by_silero(clip / np.abs(clip).max()) <= most
    assert torch.get_num_threads() == threads


# Tracks and channels


def write_tracks(path: Path, tracks: list[np.ndarray], default: int | None = None, codec: str = "aac") -> Path:
    """A file with several audio tracks, of which one may be the default."""
    with av.open(str(path), "w") as container:
        streams = []
        for number in range(len(tracks)):
            stream = container.add_stream(codec, rate=RATE, layout="mono")
            stream.metadata["language"] = ("fra", "eng", "deu")[number]
            if default is not None:
                stream.disposition = av.stream.Disposition.default if number == default else av.stream.Disposition(0)
            streams.append(stream)
        for start in range(0, max(map(len, tracks)), 1024):
            for stream, samples in zip(streams, tracks, strict=True):
                if len(piece := samples[None, start : start + 1024]):
                    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), format="fltp", layout="mono")
                    frame.sample_rate, frame.pts = RATE, start
                    container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


def like(found: np.ndarray, clip: np.ndarray) -> float:
    """Greatest correlation of a decoded clip with the one that was written, whatever the delay of a codec."""
    size = 2 ** int(np.ceil(np.log2(len(found) + len(clip))))
    both = np.fft.rfft(found, size) * np.fft.rfft(clip, size).conj()
    return float(np.abs(np.fft.irfft(both)).max() / np.linalg.norm(found) / np.linalg.norm(clip))


@pytest.mark.parametrize("name", ["two.mp4", "two.mkv"])
@pytest.mark.parametrize("default", [0, 1])
def test_the_default_track_is_heard_and_the_others_are_named(tmp_path: Path, name: str, default: int) -> None:
    path = write_tracks(tmp_path / name, [MALE, FEMALE[: len(MALE)]], default)
    decoded = decode(path)
    assert like(decoded.waveform, (MALE, FEMALE)[default]) > 0.9
    assert decoded.warnings == [
        f"2 audio tracks: took {default} ({('fra', 'eng')[default]}); "
        f"preprocessing.track= takes another: {1 - default} ({('eng', 'fra')[default]})"
    ]
    for track in (0, 1):
        decoded = decode(path, track=track)
        assert like(decoded.waveform, (MALE, FEMALE)[track]) > 0.9 and not decoded.warnings
    with pytest.raises(UserError, match=r"preprocessing.track=2: its audio tracks are 0, 1"):
        decode(path, track=2)


def test_a_silent_track_names_the_others(tmp_path: Path) -> None:
    path = write_tracks(tmp_path / "screen.mkv", [np.zeros_like(MALE), MALE], 0)
    with pytest.raises(UserError, match=r"silent .*2 audio tracks: took 0 .*preprocessing.track= .*1 \(eng\)"):
        Audio(Waveform())(path)
    assert Audio(Waveform(), track=1)(path).measurements["speech_share"] > 0.6


def test_inverted_channels_do_not_cancel(tmp_path: Path) -> None:
    for name, codec, least in (("a.wav", "pcm_s16le", 0.999), ("a.mp3", "libmp3lame", 0.95)):
        path = write_audio(tmp_path / name, np.stack([MALE, -MALE]), RATE, codec, "stereo")
        decoded = decode(path)
        assert like(decoded.waveform, MALE) > least and "cancel each other: took channel 0" in decoded.warnings[0]
    tilted = Audio(Waveform())(np.stack([0.8 * MALE, 0.1 - MALE]), RATE)
    assert like(tilted.preview["part"], MALE) > 0.99 and "took channel 1" in tilted.warnings[0]
    surround = np.stack([zeros(7.1), zeros(7.1), MALE, zeros(7.1), zeros(7.1), zeros(7.1)])
    assert not Audio(Waveform())(surround, RATE).warnings  # a faint mean is no cancellation


def test_two_speakers_are_warned_of_and_one_can_be_taken(tmp_path: Path) -> None:
    both = np.stack([MALE, FEMALE[: len(MALE)]])
    path = write_audio(tmp_path / "call.wav", both, RATE, "pcm_s16le", "stereo")
    for source in ((path,), (both, RATE)):
        assert "another voice in each channel" in Audio(Waveform())(*source).warnings[0]
        for channel in (0, 1):
            prepared = Audio(Waveform(), channel=channel)(*source)
            assert like(prepared.preview["part"], both[channel]) > 0.999 and not prepared.warnings
        with pytest.raises(UserError, match=r"preprocessing.channel=2: its channels are 0, 1"):
            Audio(Waveform(), channel=2)(*source)
    noise = np.random.default_rng(1).normal(0, 0.02, len(MALE))
    for other in (MALE, 0.5 * MALE + 0.001, noise):  # the same voice, and a channel without one
        assert not Audio(Waveform())(np.stack([MALE, other]).astype(np.float32), RATE).warnings


def test_big_endian_wav_is_not_heard_as_noise(tmp_path: Path) -> None:
    sound = (MALE * 32767).astype(">i2").tobytes()
    head = struct.pack(">4sI4s4sIHHIIHH4sI", b"RIFX", 36 + len(sound), b"WAVE", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2,
                       16, b"data", len(sound))  # fmt: skip
    (tmp_path / "big.wav").write_bytes(head + sound)
    with pytest.raises(UserError, match="RIFX"):
        decode(tmp_path / "big.wav")


# Cut short, or whole

WHOLE = {
    "a.wav": "pcm_s16le", "a.w64": "pcm_s16le", "a.caf": "pcm_s16be", "a.aiff": "pcm_s16be", "a.au": "pcm_s16be",
    "a.flac": "flac", "a.mka": "ac3", "a.mkv": "aac", "a.webm": "libopus", "a.opus": "libopus", "a.ogg": "flac",
    "a.ac3": "ac3", "a.mp3": "libmp3lame",
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_that_ends_early_is_noticed_and_a_whole_one_is_not_accused(tmp_path: Path, name: str) -> None:
    rate = 48_000 if WHOLE[name] in ("libopus", "ac3") else RATE
    path = write_audio(tmp_path / name, np.repeat(MALE, rate // RATE), rate, WHOLE[name])
    assert decode(path).warnings == []
    content = path.read_bytes()
    for share in (0.4, 0.6, 0.9):
        path.write_bytes(content[: int(share * len(content))])
        assert decode(path).warnings == [CUT], share
        assert decode(path, max_seconds=1.0).warnings == []  # what is used is whole


def test_a_wav_cut_between_two_packets_is_noticed(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.wav", MALE, RATE, "pcm_s16le")
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"data") + 8 + 4096 * 20])
    assert decode(path).warnings == [CUT]


def stream(form: str, codec: str, rate: int) -> bytes:
    """A recording as a program writes it that cannot seek: without the sizes in the header."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.content = b""

        def writable(self) -> bool:
            return True

        def write(self, piece: bytes) -> int:
            self.content += bytes(piece)
            return len(piece)

    pipe = Pipe()
    with av.open(pipe, "w", format=form) as container:
        track = container.add_stream(codec, rate=rate, layout="mono")
        resampler = av.AudioResampler(track.codec_context.format, "mono", rate, track.codec_context.frame_size or None)
        frame = av.AudioFrame.from_ndarray(MALE[None], "flt", "mono")
        frame.sample_rate, frame.pts = RATE, 0
        for converted in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(track.encode(converted))
        container.mux(track.encode(None))
    return pipe.content


@pytest.mark.parametrize(
    ("form", "codec", "rate"),
    [("wav", "pcm_s16le", RATE), ("webm", "libopus", 48_000), ("matroska", "aac", RATE), ("ogg", "libopus", 48_000)],
)
def test_a_recording_without_sizes_in_its_header_is_not_accused(
    tmp_path: Path, form: str, codec: str, rate: int
) -> None:
    (tmp_path / "streamed").write_bytes(stream(form, codec, rate))
    decoded = decode(tmp_path / "streamed")
    assert len(decoded.waveform) / RATE == pytest.approx(7.1, abs=0.1) and not decoded.warnings


@pytest.mark.parametrize("name", ["a.mp3", "a.aac"])
def test_a_duration_that_is_estimated_from_the_bit_rate_accuses_nobody(tmp_path: Path, name: str) -> None:
    """A pause at the beginning takes few bytes, from which FFmpeg estimates a duration that is far too long."""
    codec, more = ("libmp3lame", {"write_xing": "0"}) if name == "a.mp3" else ("aac", {})
    clip = np.concatenate([zeros(30), MALE, MALE, MALE])
    with av.open(str(tmp_path / name), "w", options=more) as container:
        track = container.add_stream(codec, rate=44_100, layout="mono", options={"q": "2", "flags": "+qscale"})
        resampler = av.AudioResampler(
            track.codec_context.format, "mono", 44_100, track.codec_context.frame_size or 1152
        )
        frame = av.AudioFrame.from_ndarray(clip[None], "flt", "mono")
        frame.sample_rate, frame.pts = RATE, 0
        for converted in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(track.encode(converted))
        container.mux(track.encode(None))
    with av.open(str(tmp_path / name)) as container:
        assert not 0.9 < container.duration / 1e6 / (len(clip) / RATE) < 1.1, "the estimate is right: no test"
    decoded = decode(tmp_path / name, max_seconds=None)
    assert len(decoded.waveform) == pytest.approx(len(clip), abs=RATE // 5) and not decoded.warnings


# Hostile headers


@pytest.mark.parametrize("rate", [486_000_000, 2**31 - 1, 2**31, 2**32 - 1, 0, 3])
def test_an_impossible_sample_rate_is_refused_at_once(tmp_path: Path, rate: int) -> None:
    path = write_audio(tmp_path / "a.wav", MALE, RATE, "pcm_s16le")
    content = bytearray(path.read_bytes())
    content[24:28] = struct.pack("<I", rate)
    path.write_bytes(content)
    for read in (decode, Audio(Waveform())):
        began = time.perf_counter()
        with pytest.raises(UserError, match=r"sample rate|not audio") as caught:
            read(path)
        assert time.perf_counter() - began < 1 and "\n" not in str(caught.value)
    if rate:
        with pytest.raises(UserError, match="rate"):
            Audio(Waveform())(MALE, rate)


# Windows that are longer than the network


@pytest.mark.parametrize("window", [None, 10.0, 3.5])
def test_a_window_longer_than_the_features_is_heard_to_its_end(window: float | None) -> None:
    clip = np.concatenate([MALE, FEMALE])
    audio = Audio(LogMelFilterBank(max_frames=298), window_seconds=window)
    prepared = audio(clip, RATE)
    wanted = len(clip) if window is None else round(window * RATE)
    heard = np.zeros(len(clip), bool)
    for start, end in prepared.preview["heard"]:
        assert end - start < 3.01
        heard[round(start * RATE) : round(end * RATE)] = True
    assert heard[:wanted].all() and not heard[wanted + 1 :].any()
    assert len(prepared.features) == len(prepared.preview["heard"]) == -(-wanted // 48_079)
    features = audio.features
    for (start, end), one in zip(prepared.preview["heard"], prepared.features, strict=True):
        samples = prepared.preview["part"][round(start * RATE) : round(end * RATE)]
        torch.testing.assert_close(features(torch.from_numpy(samples.copy())[None])[0], one)


def test_without_a_limit_of_the_features_a_window_is_one() -> None:
    for features in (LogMelFilterBank(max_frames=None), Spectrogram(), Waveform()):
        assert len(Audio(features, window_seconds=None)(MALE, RATE).features) == 1


def test_training_passes_over_silence_inside_a_recording(tmp_path: Path) -> None:
    """A piece that would be silent gives way to the next sound, or to the first; one of silence only is refused."""
    parts = [MALE[: 3 * RATE], zeros(20), FEMALE[: 3 * RATE], zeros(6)]
    path = write_audio(tmp_path / "a.wav", np.concatenate(parts), RATE, "pcm_f32le")
    for audio in (Audio(Waveform()), Audio(Waveform(), max_seconds=None)):
        whole = audio.read(path)
        for start, expected in ((0.0, 0.0), (6.0, 23.0), (26.0, 0.0), (29.0, 0.0)):
            piece = audio.read(path, start=start, seconds=3.0, level=whole.level_dbfs).waveform
            first = next(at for at in range(3000) if whole.part[round(expected * RATE) + at] == piece[0] != 0)
            assert first < RATE * 0.05
            at = round(expected * RATE) + first
            np.testing.assert_allclose(piece[: 2 * RATE], whole.part[at : at + 2 * RATE], atol=1e-6)
    write_audio(tmp_path / "b.wav", zeros(9), RATE, "pcm_f32le")
    with pytest.raises(UserError, match="silent"):
        Audio(Waveform()).read(tmp_path / "b.wav", start=3.0, seconds=3.0, level=-20.0)


def test_weights_choose_no_track_or_channel() -> None:
    assert without_run_settings({"track": 1, "channel": 0, "require_speech": True, "windows": 3}) == {"windows": 3}


# The command line


def test_results_say_how_much_is_speech(run: Callable, tmp_path: Path) -> None:
    import csv

    write_audio(tmp_path / "noise.wav", 0.1 * NOISE, RATE, "pcm_s16le")
    write_audio(tmp_path / "cut.wav", MALE, RATE, "pcm_s16le")
    (tmp_path / "cut.wav").write_bytes((tmp_path / "cut.wav").read_bytes()[:150_000])
    run("audio=[noise.wav,cut.wav]", "hydra.run.dir=out")
    run("audio=[noise.wav,cut.wav]", "preprocessing.require_speech=true", "hydra.run.dir=strict", status=1)
    rows = {}
    for name in ("out", "strict"):
        with open(tmp_path / name / "results.csv", newline="") as file:
            rows[name] = {row["input"]: row for row in csv.DictReader(file)}
    assert rows["out"]["noise.wav"]["status"] == "done" and float(rows["out"]["noise.wav"]["speech_share"]) < 0.1
    assert "hardly any speech" in rows["out"]["noise.wav"]["warnings"]
    assert float(rows["out"]["cut.wav"]["speech_share"]) > 0.6 and rows["out"]["cut.wav"]["warnings"] == CUT
    assert rows["strict"]["cut.wav"]["status"] == "done" and rows["strict"]["noise.wav"]["status"] == "failed"
    assert "require_speech" in rows["strict"]["noise.wav"]["error"]
