"""Random changes to recordings, photos and embeddings during training."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from speech2face.preprocessing.channel import RATE, Channel, transmit


def augment_recording(waveform: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Simulate another microphone, room, noise and band limit for (samples,) at 16 kHz; returns (samples,) float32.

    The microphone is a random frequency response: a slope with a standard deviation of 3 dB per octave, plus an
    independent gain with a standard deviation of 3 dB at seven frequencies from 60 Hz to 8 kHz. Half of the recordings
    get an echo. A quarter get the narrow band of a telephone or of a low-rate codec.
    """
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(waveform), 1 / RATE), 60) / 60)
    points = np.linspace(0, octaves[-1], 7)
    # The spectral slope of human speech varies more than the slope of one synthesiser, which simulated people share.
    gain_db = np.interp(octaves, points, 3 * (random.standard_normal() * points + random.standard_normal(7)))
    waveform = np.fft.irfft(np.fft.rfft(waveform) * 10 ** (gain_db / 20), len(waveform)).astype(np.float32)
    narrow, echo = random.random(2) < (0.25, 0.5)
    channel = Channel(
        snr_db=float(random.uniform(8, 50)),
        noise_tilt=float(random.uniform(0, 2)),
        reverberation=float(random.uniform(0.1, 0.6)) if echo else 0.0,
        direct_db=float(random.uniform(0, 15)),
        band_hz=(
            float(random.uniform(20, 300 if narrow else 120)),
            float(random.choice((3400, 5500)) if narrow else 8e3),
        ),
    )
    return transmit(waveform, channel, random)


def perturb_speed(waveform: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Play (samples,) faster or slower; the log of the factor has a standard deviation of 0.06. Returns (samples,).

    Ko et al., "Audio augmentation for speech recognition", Interspeech 2015. The end of a faster recording is filled
    from its beginning. Pitch and formants change by the same factor. The factor varies more than formants do between
    people of one sex (4.5 %), so that pitch is the better cue to sex. Networks then transfer to human speech, whose
    formants differ from those of a synthesiser.
    """
    positions = np.arange(len(waveform)) * math.exp(0.06 * random.standard_normal())
    return np.interp(positions, np.arange(len(waveform)), waveform, period=len(waveform)).astype(np.float32)


def perturb_vocal_tract(waveform: np.ndarray, factor: float, size: int = 512) -> np.ndarray:
    """Multiply the formant frequencies of (samples,) at 16 kHz by `factor`, and leave the pitch; returns (samples,).

    VTLP: Jaitly and Hinton, "Vocal tract length perturbation improves speech recognition", ICML workshop 2013. Here
    only the spectral envelope is warped. The envelope is the first 2 ms of the cepstrum. size: of the FFT, in samples.
    """
    sound = torch.from_numpy(np.asarray(waveform, np.float32))
    frames = {"n_fft": size, "hop_length": size // 4, "window": torch.hann_window(size)}
    spectra = torch.stft(sound, **frames, pad_mode="constant", return_complex=True)
    magnitudes = spectra.abs()
    cepstra = torch.fft.irfft(torch.log(magnitudes + 1e-6 * magnitudes.max() + 1e-12), dim=0)
    cepstra[32:-31] = 0
    envelopes = torch.fft.rfft(cepstra, dim=0).real
    sources = (torch.arange(size // 2 + 1) / factor).clamp(max=size // 2)
    below = sources.long().clamp(max=size // 2 - 1)
    warped = torch.lerp(envelopes[below], envelopes[below + 1], (sources - below)[:, None])
    return torch.istft(spectra * torch.exp(warped - envelopes), **frames, length=len(sound)).numpy()


def spec_augment(features: torch.Tensor, time_axis: int, random: np.random.Generator) -> torch.Tensor:
    """Set two bands of frequencies and two runs of frames to 0, each at most a tenth of its axis wide.

    Park et al., "SpecAugment", Interspeech 2019. features: (..., frames, bands) with time_axis -2, or
    (..., bands, frames) with time_axis -1. Returns a copy.
    """
    features = features.clone()
    for axis in (time_axis, time_axis, -3 - time_axis, -3 - time_axis):
        size = features.shape[axis]
        width = int(random.integers(0, size // 10 + 1))
        features.narrow(axis, int(random.integers(0, size - width + 1)), width).zero_()
    return features


def mix_voices(batch: dict[str, torch.Tensor], generator: torch.Generator) -> torch.Tensor:
    """Mix the embeddings of voices in a batch with each other, with a weight below one half for the other voice.

    "mixup" (Zhang et al., ICLR 2018) applied to inputs only. batch: "embedding" (batch, 4096) and "from_photo" (batch,)
    bool. Returns (batch, 4096), in which embeddings from photos are unchanged.
    """
    embedding, rows = batch["embedding"].clone(), (~batch["from_photo"]).nonzero()[:, 0]
    others = rows[torch.randperm(len(rows), generator=generator, device=rows.device)]
    share = torch.rand(len(rows), 1, generator=generator, device=rows.device) / 2
    embedding[rows] = torch.lerp(embedding[rows], embedding[others], share)
    return embedding


def augment_photos(photos: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Change geometry, light, sharpness and noise of photos (batch, 3, size, size) in [0, 1]; returns the same shape.

    Each photo is shifted, rotated and scaled; its brightness, contrast, saturation and white balance change; it is
    blurred by up to half of its resolution and gets noise with a standard deviation of at most 0.03.
    """
    batch, _, size, _ = photos.shape
    device = photos.device

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(batch, generator=generator, device=device)

    angle, scale = uniform(-6, 6) * (math.pi / 180), torch.exp(uniform(-0.15, 0.1))
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    # The shift covers the error of a face detector. Its unit is half of the photo's size.
    across, down = uniform(-0.1, 0.1), uniform(-0.2, 0.2)
    rows = [torch.stack([cosine, -sine, across], 1), torch.stack([sine, cosine, down], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(photos.shape), align_corners=False)
    photos = F.grid_sample(photos, grid, padding_mode="border", align_corners=False)
    brightness, contrast, saturation = (uniform(0.87, 1.13)[:, None, None, None] for _ in range(3))
    gain = torch.exp(0.04 * torch.randn(batch, 3, 1, 1, generator=generator, device=device))
    photos = photos * brightness * gain
    photos = torch.lerp(photos.mean((1, 2, 3), keepdim=True), photos, contrast)
    photos = torch.lerp(photos.mean(1, keepdim=True), photos, saturation)
    blurred = F.interpolate(F.avg_pool2d(photos, 2), (size, size), mode="bilinear")
    photos = torch.lerp(photos, blurred, (uniform(-0.5, 1)).clamp(min=0)[:, None, None, None])
    noise = torch.randn(photos.shape, generator=generator, device=device)
    return (photos + uniform(0, 0.03)[:, None, None, None] * noise).clamp(0, 1)
