"""What training does to photos and recordings, so that a network learns who it is and not how it was recorded."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from speech2face.talkers.recording import RATE, transmit
from speech2face.talkers.traits import Clip


def recorded(waveform: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(samples,) at 16 kHz as if through another microphone, room, noise and band limit; half the time each."""
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(waveform), 1 / RATE), 60) / 60)
    places = np.linspace(0, octaves[-1], 7)
    # Speech differs in its slope by more than one synthesiser does: 3 dB an octave, and 3 dB in each of seven bands.
    gain_db = np.interp(octaves, places, 3 * (random.standard_normal() * places + random.standard_normal(7)))
    waveform = np.fft.irfft(np.fft.rfft(waveform) * 10 ** (gain_db / 20), len(waveform)).astype(np.float32)
    narrow, room = random.random(2) < (0.25, 0.5)
    conditions = Clip(
        text="",
        snr_db=float(random.uniform(8, 50)),
        noise_tilt=float(random.uniform(0, 2)),
        reverberation=float(random.uniform(0.1, 0.6)) if room else 0.0,
        direct_db=float(random.uniform(0, 15)),
        band_hz=(
            float(random.uniform(20, 300 if narrow else 120)),
            float(random.choice((3400, 5500)) if narrow else 8e3),
        ),
        codec="none",
        level_dbfs=0.0,
    )
    return transmit(waveform, conditions, random)


def at_another_speed(waveform: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(samples,) played faster or slower, by 6 % as a rule; its end is filled from its beginning.

    Ko et al., "Audio augmentation for speech recognition", Interspeech 2015. Pitch and formants move together, formants
    by more than people of one sex differ: of the two, the pitch remains to tell the sexes apart, as in human speech of
    which a synthesiser's formants tell little.
    """
    places = np.arange(len(waveform)) * math.exp(0.06 * random.standard_normal())
    return np.interp(places, np.arange(len(waveform)), waveform, period=len(waveform)).astype(np.float32)


def another_tract(waveform: np.ndarray, factor: float, size: int = 512) -> np.ndarray:
    """(samples,) at 16 kHz with the formants `factor` times as high and the pitch as it was.

    Jaitly and Hinton, "Vocal tract length perturbation", 2013, but of the spectral envelope alone: 2 ms of cepstrum.
    """
    sound = torch.from_numpy(np.asarray(waveform, np.float32))
    how = {"n_fft": size, "hop_length": size // 4, "window": torch.hann_window(size)}
    spectra = torch.stft(sound, **how, pad_mode="constant", return_complex=True)
    magnitudes = spectra.abs()
    cepstra = torch.fft.irfft(torch.log(magnitudes + 1e-6 * magnitudes.max() + 1e-12), dim=0)
    cepstra[32:-31] = 0
    envelopes = torch.fft.rfft(cepstra, dim=0).real
    places = (torch.arange(size // 2 + 1) / factor).clamp(max=size // 2)
    below = places.long().clamp(max=size // 2 - 1)
    moved = torch.lerp(envelopes[below], envelopes[below + 1], (places - below)[:, None])
    return torch.istft(spectra * torch.exp(moved - envelopes), **how, length=len(sound)).numpy()


def spec_augment(features: torch.Tensor, time_axis: int, random: np.random.Generator) -> torch.Tensor:
    """Two bands of up to a tenth of the frequencies and two of up to a tenth of the frames become 0.

    Park et al., "SpecAugment", Interspeech 2019. features: (..., frames, bands) or (..., bands, frames); time_axis: -2
    or -1.
    """
    features = features.clone()
    for axis in (time_axis, time_axis, -3 - time_axis, -3 - time_axis):
        size = features.shape[axis]
        width = int(random.integers(0, size // 10 + 1))
        features.narrow(axis, int(random.integers(0, size - width + 1)), width).zero_()
    return features


def between(batch: dict[str, torch.Tensor], generator: torch.Generator) -> torch.Tensor:
    """batch["feature"] (batch, 4096), where not batch["seen"] moved less than half of the way to another such one.

    Zhang et al., "mixup", ICLR 2018, of inputs only.
    """
    feature, rows = batch["feature"].clone(), (~batch["seen"]).nonzero()[:, 0]
    others = rows[torch.randperm(len(rows), generator=generator, device=rows.device)]
    share = torch.rand(len(rows), 1, generator=generator, device=rows.device) / 2
    feature[rows] = torch.lerp(feature[rows], feature[others], share)
    return feature


def seen(photos: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Photos (batch, 3, size, size) in [0, 1] moved, turned, scaled, in another light, blurred and noisy, at random."""
    batch, _, size, _ = photos.shape
    device = photos.device

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(batch, generator=generator, device=device)

    angle, scale = uniform(-6, 6) * (math.pi / 180), torch.exp(uniform(-0.15, 0.1))
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    across, down = uniform(-0.1, 0.1), uniform(-0.2, 0.2)  # of half the size: what a face detector may be off by
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
