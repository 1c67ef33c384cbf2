"""A voice as it was recorded: room, noise, band limit, codec, level."""

import io

import av
import numpy as np
from scipy import fft

from speech2face.talkers.traits import Clip, Person, draw_clip
from speech2face.talkers.voice import RATE, speak

LOSSY = {  # encoder, container, bits a second, effort
    "mp3": ("libmp3lame", "mp3", 32_000, 7),
    "opus": ("libopus", "ogg", 16_000, 2),
}


def record(person: Person, clip: int, seconds: float) -> np.ndarray:
    """(samples,) float32 at 16 kHz in [-1, 1]: recording number `clip` of a person, about `seconds` long."""
    drawn = draw_clip(person, clip, seconds)
    random = person.random("recording", clip)
    waveform = speak(person, drawn.text, random)
    waveform = transmit(waveform, drawn, random)
    if drawn.codec == "mulaw":
        waveform = mulaw(waveform)
    elif drawn.codec in LOSSY:
        waveform = through_codec(waveform, *LOSSY[drawn.codec])
    return to_level(waveform, drawn.level_dbfs)


def transmit(waveform: np.ndarray, clip: Clip, random: np.random.Generator) -> np.ndarray:
    """Room, noise and band limit, in one pass over the spectrum.

    The room is its direct sound and exponentially decaying noise (Polack 1988), the noise falls by `noise_tilt` times
    3 dB an octave, the band limit is of Butterworth's form, fourth order.
    """
    tail = int(clip.reverberation * RATE)
    size = fft.next_fast_len(len(waveform) + tail, real=True)
    spectrum = fft.rfft(waveform, size)
    hertz = np.maximum(np.arange(len(spectrum), dtype=np.float32), 1) * (RATE / size)
    if tail:
        echo = random.standard_normal(tail, np.float32) * 10 ** (-3 * np.arange(tail, dtype=np.float32) / tail)
        echo *= 10 ** (-clip.direct_db / 20) / np.linalg.norm(echo)
        echo[0] += 1
        spectrum *= fft.rfft(echo, size)
    noise = random.standard_normal((2, len(spectrum)), np.float32)
    noise = (noise[0] + 1j * noise[1]) * np.maximum(hertz, 50) ** (-clip.noise_tilt / 2)
    # Energy of the whole clip against that of the noise over the same length.
    noise *= np.linalg.norm(spectrum) / np.linalg.norm(noise) * 10 ** (-clip.snr_db / 20)
    low, high = clip.band_hz
    gain = 1 / np.sqrt((1 + (low / hertz) ** 8) * (1 + (hertz / high) ** 8))
    return fft.irfft((spectrum + noise) * gain, size)[: len(waveform)].astype(np.float32)


def to_level(waveform: np.ndarray, level_dbfs: float) -> np.ndarray:
    """Scaled to an RMS level, or as near to it as leaves the peaks within [-1, 1]."""
    gain = 10 ** (level_dbfs / 20) / max(float(np.sqrt(np.mean(waveform**2))), 1e-9)
    return waveform * np.float32(min(gain, 0.99 / max(float(np.abs(waveform).max()), 1e-9)))


def mulaw(waveform: np.ndarray) -> np.ndarray:
    """Quantised to 8 bits on the logarithmic scale of telephony (ITU-T G.711, its continuous form, mu = 255)."""
    peak = max(float(np.abs(waveform).max()), 1e-9)
    code = np.round(127 * np.sign(waveform) * np.log1p(255 * np.abs(waveform) / peak) / np.log(256)) / 127
    return (np.sign(code) * (256 ** np.abs(code) - 1) / 255 * peak).astype(np.float32)


def through_codec(waveform: np.ndarray, codec: str, container: str, bit_rate: int, effort: int) -> np.ndarray:
    """Encoded and decoded again."""
    encoded = encode(to_level(waveform, -20.0), codec, container, bit_rate, effort)
    with av.open(io.BytesIO(encoded), metadata_errors="ignore") as file:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
        frames = [out for frame in file.decode(audio=0) for out in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])[: len(waveform)]


def encode(
    waveform: np.ndarray, codec: str, container: str, bit_rate: int = 0, effort: int = 5, rate: int = RATE
) -> bytes:
    """(samples,) float32 at 16 kHz as a file of FFmpeg's `codec` and `container`.

    bit_rate: bits a second, for a lossy codec. effort: the codec's compression level. rate: of the file, in Hz.
    """
    target = io.BytesIO()
    with av.open(target, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, layout="mono", options={"compression_level": str(effort)})
        if bit_rate:
            stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform[None], np.float32), "flt", "mono")
        frame.sample_rate, frame.pts = RATE, 0
        resampler = av.AudioResampler(
            stream.codec_context.format, "mono", rate, stream.codec_context.frame_size or None
        )
        for converted in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(stream.encode(converted))
        file.mux(stream.encode(None))
    return target.getvalue()
