"""The channel between a speaker and a recording: room, noise, band limit, codec and level."""

import io
from dataclasses import dataclass

import av
import numpy as np
from scipy import fft

RATE = 16_000  # Hz, of every waveform in this module
LOSSY = {  # FFmpeg's encoder, container, bits per second, compression level
    "mp3": ("libmp3lame", "mp3", 32_000, 7),
    "opus": ("libopus", "ogg", 16_000, 2),
}


@dataclass(frozen=True)
class Channel:
    """Recording conditions.

    snr_db: signal-to-noise ratio in dB. noise_tilt: the noise falls by this many times 3 dB per octave.
    reverberation: time in s until the echo has fallen by 60 dB; 0 for a room without echo.
    direct_db: level of the direct sound minus the level of the echo, in dB.
    band_hz: lower and upper cut-off frequency. codec: none, mulaw, or a key of LOSSY.
    level_dbfs: RMS level of the result in dB of full scale; None leaves the level unchanged.
    """

    snr_db: float
    noise_tilt: float
    reverberation: float
    direct_db: float
    band_hz: tuple[float, float]
    codec: str = "none"
    level_dbfs: float | None = None


def transmit(waveform: np.ndarray, channel: Channel, random: np.random.Generator) -> np.ndarray:
    """Send a waveform (samples,) at 16 kHz through the channel; returns (samples,) float32."""
    waveform = room_noise_and_band(waveform, channel, random)
    if channel.codec == "mulaw":
        waveform = mulaw(waveform)
    elif channel.codec != "none":
        waveform = through_codec(waveform, *LOSSY[channel.codec])
    return waveform if channel.level_dbfs is None else to_level(waveform, channel.level_dbfs)


def room_noise_and_band(waveform: np.ndarray, channel: Channel, random: np.random.Generator) -> np.ndarray:
    """Apply room, noise and band limit to (samples,) in one pass over the spectrum; returns (samples,) float32.

    The room's impulse response is the direct sound followed by exponentially decaying noise (Polack 1988). The band
    limit has the frequency response of a fourth-order Butterworth filter, without its phase.
    """
    tail = int(channel.reverberation * RATE)
    size = fft.next_fast_len(len(waveform) + tail, real=True)
    spectrum = fft.rfft(waveform, size)
    hertz = np.maximum(np.arange(len(spectrum), dtype=np.float32), 1) * (RATE / size)
    if tail:
        echo = random.standard_normal(tail, np.float32) * 10 ** (-3 * np.arange(tail, dtype=np.float32) / tail)
        echo *= 10 ** (-channel.direct_db / 20) / np.linalg.norm(echo)
        echo[0] += 1
        spectrum *= fft.rfft(echo, size)
    noise = random.standard_normal((2, len(spectrum)), np.float32)
    noise = (noise[0] + 1j * noise[1]) * np.maximum(hertz, 50) ** (-channel.noise_tilt / 2)
    # The ratio compares the energy of the whole recording with the energy of the noise over the same length.
    noise *= np.linalg.norm(spectrum) / np.linalg.norm(noise) * 10 ** (-channel.snr_db / 20)
    low, high = channel.band_hz
    gain = 1 / np.sqrt((1 + (low / hertz) ** 8) * (1 + (hertz / high) ** 8))
    return fft.irfft((spectrum + noise) * gain, size)[: len(waveform)].astype(np.float32)


def to_level(waveform: np.ndarray, level_dbfs: float) -> np.ndarray:
    """Scale (samples,) to an RMS level in dB of full scale; a lower level where a peak would exceed 0.99."""
    gain = 10 ** (level_dbfs / 20) / max(float(np.sqrt(np.mean(waveform**2))), 1e-9)
    return waveform * np.float32(min(gain, 0.99 / max(float(np.abs(waveform).max()), 1e-9)))


def mulaw(waveform: np.ndarray) -> np.ndarray:
    """Quantise (samples,) to 8 bits on the mu-law scale (ITU-T G.711 in its continuous form, mu = 255)."""
    peak = max(float(np.abs(waveform).max()), 1e-9)
    code = np.round(127 * np.sign(waveform) * np.log1p(255 * np.abs(waveform) / peak) / np.log(256)) / 127
    return (np.sign(code) * (256 ** np.abs(code) - 1) / 255 * peak).astype(np.float32)


def through_codec(waveform: np.ndarray, codec: str, container: str, bit_rate: int, effort: int) -> np.ndarray:
    """Encode (samples,) at -20 dBFS with a lossy codec and decode it again; the arguments are those of encode()."""
    encoded = encode(to_level(waveform, -20.0), codec, container, bit_rate, effort)
    with av.open(io.BytesIO(encoded), metadata_errors="ignore") as file:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
        frames = [out for frame in file.decode(audio=0) for out in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])[: len(waveform)]


def encode(
    waveform: np.ndarray, codec: str, container: str, bit_rate: int = 0, effort: int = 5, rate: int = RATE
) -> bytes:
    """Encode (samples,) float32 at 16 kHz as a file in FFmpeg's `codec` and `container`.

    bit_rate: bits per second of a lossy codec; 0 for the codec's default. effort: the codec's compression level.
    rate: sample rate of the file in Hz.
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
