"""The front end of speech in tensors alone, for a graph: silence, level and windows of a batch of recordings.

The numbers are those of speech2face.preprocessing.audio, which also decodes files, refuses and warns.
"""

import torch
import torch.nn.functional as F
from torch import nn

from speech2face.errors import UserError
from speech2face.preprocessing import sound
from speech2face.preprocessing.audio import FAINT, Audio
from speech2face.preprocessing.speech import RATE
from speech2face.preprocessing.voicing import speech_share

PAUSE, BLOCK = round(sound.PAUSE_SECONDS * sound.BLOCKS), RATE // sound.BLOCKS  # in blocks; samples of a block
LOWEST_DBFS = -400.0  # the gain of silence is finite


class Listening(nn.Module):
    """Samples at 16 kHz -> windows at the level of a front end, and their weights in the mean of their embeddings.

    Raises UserError for a front end that a graph cannot have.
    """

    def __init__(self, audio: Audio) -> None:
        super().__init__()
        self.audio = audio
        self.size = round((audio.window_seconds or 0) * RATE)
        most = getattr(audio.features, "most_samples", None) or self.size
        if audio.sample_rate != RATE or audio.offset:
            raise UserError(f"a graph takes {RATE} Hz from the start: no preprocessing.sample_rate= and .offset=")
        if not audio.least_samples <= self.size <= most:
            raise UserError(
                f"preprocessing.window_seconds={audio.window_seconds}: a graph has windows of a fixed length, from "
                f"{audio.least_samples / RATE:.3f} s" + (f" to {most / RATE:.3f} s" if most != self.size else "")
            )

    def forward(self, samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(batch, samples) -> windows (batch, windows, size), weights (batch, windows), level (batch,) in dBFS.

        The level is that before the gain, without silence; -inf: all is silent, and the windows mean nothing.
        """
        if self.audio.max_seconds:
            most = torch.sym_min(samples.shape[1], round(self.audio.max_seconds * RATE))
            samples = samples.index_select(1, torch.arange(most))
        samples = without_offset(samples)
        powers = block_powers(samples)
        own = decibels(samples.double().square().mean(1, keepdim=True))
        heard = self.inside(powers, own)[0]
        room = (samples.shape[1] - BLOCK * torch.arange(powers.shape[1])).clamp(max=BLOCK)  # samples of each block
        level = decibels(BLOCK * (powers * heard).sum(1, keepdim=True) / (room * heard).sum(1, keepdim=True).clamp(1))
        heard, begin, end = self.inside(powers, level)
        samples = samples * 10 ** ((self.audio.level_dbfs - level.clamp(min=LOWEST_DBFS)) / 20).float()
        first, length = begin * BLOCK, ((end - begin) * BLOCK).clamp(1)
        length = torch.minimum(length, (samples.shape[1] - first).clamp(1))
        starts = self.starts(length)
        places = (starts[:, :, None] + torch.arange(self.size)) % length[:, :, None] + first[:, :, None]
        windows = samples.gather(1, places.flatten(1).clamp(max=samples.shape[1] - 1)).unflatten(1, places.shape[1:])
        return windows, self.weights(windows, first + starts, room * heard), level[:, 0]

    def inside(self, powers: torch.Tensor, level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The blocks that are not silence (batch, blocks), and the first (batch, 1) and the end (batch, 1) of all.

        powers: of the blocks. level: (batch, 1) in dBFS. As `sound.sounding`.
        """
        quiet, at = self.audio.silence_dbfs, torch.arange(powers.shape[1])
        loud = powers > 10 ** ((level - sound.FAINT_DB).clamp(min=quiet) / 10)
        so_far = loud.cumsum(1)
        long_before = F.pad(so_far, (PAUSE + 1, 0))[:, : powers.shape[1]]
        group = (loud & (so_far == long_before + 1)).cumsum(1)  # a longer pause than PAUSE separates groups
        sizes = torch.zeros_like(F.pad(group, (0, 1))).scatter_add(1, group, loud.long())
        kept = sizes.gather(1, group) >= round(sound.LEAST_SECONDS * sound.BLOCKS)
        kept = kept | ~(loud & kept).any(1, keepdim=True)  # a recording of clicks alone keeps them
        inside = kept & (group > 0) & (loud | (so_far < sizes.cumsum(1).gather(1, group)))
        first = torch.where(inside, at, powers.shape[1]).amin(1, keepdim=True)
        last = torch.where(inside, at + 1, 0).amax(1, keepdim=True)
        silent = powers <= 10 ** (quiet / 10)
        begin = torch.where(silent & (at < first), at + 1, 0).amax(1, keepdim=True).maximum(first - PAUSE)
        begin = torch.where(first <= PAUSE, 0, begin)
        end = torch.where(silent & (at >= last), at, powers.shape[1]).amin(1, keepdim=True).minimum(last + PAUSE)
        end = torch.where(powers.shape[1] - last <= PAUSE, powers.shape[1], end)
        return inside | (at >= begin) & (at < first) | (at >= last) & (at < end), begin, end

    def starts(self, length: torch.Tensor) -> torch.Tensor:
        """First samples (batch, windows) of evenly spaced windows of recordings of a length (batch, 1) in samples."""
        last, count = (length - self.size).clamp(min=0), self.audio.windows
        if count == 1:
            return torch.zeros_like(last)
        return torch.cat([(torch.arange(count - 1) * (last.double() / (count - 1))).long(), last], 1)

    def weights(self, windows: torch.Tensor, starts: torch.Tensor, heard: torch.Tensor) -> torch.Tensor:
        """Weights (batch, windows): the share of speech of each window, and 0 for silent ones.

        starts: first samples of the windows. heard: samples of each block that are not silence (batch, blocks).
        """
        if self.audio.windows == 1:
            return torch.ones_like(starts).float()
        before, padded = F.pad(heard.cumsum(1), (1, 0)), F.pad(heard, (0, 1))

        def until(place: torch.Tensor) -> torch.Tensor:
            block = place // BLOCK
            return before.gather(1, block) + torch.minimum(place % BLOCK, padded.gather(1, block))

        ends = (starts + self.size).clamp(max=heard.shape[1] * BLOCK)
        least = before[:, -1:].clamp(max=min(round(sound.LEAST_SECONDS * RATE), self.size))
        kept = until(ends) - until(starts) >= least
        shares = speech_share(windows.flatten(0, 1)).unflatten(0, windows.shape[:2]).clamp(min=FAINT)
        first = (torch.arange(self.audio.windows) == 0).float()
        return torch.where(kept.any(1, keepdim=True), shares * kept, first)


def without_offset(samples: torch.Tensor) -> torch.Tensor:
    """Samples (batch, samples) without a constant offset, as `sound.without_offset`."""
    exact, size = samples.double(), round(sound.OFFSET_SECONDS * RATE)
    at, count = torch.arange(samples.shape[1]), torch.sym_min(samples.shape[1], size)
    first = (exact * (at < size)).sum(1, keepdim=True) / count
    sums = torch.cat([first.expand(-1, size), exact], 1).cumsum(1)
    moved = (exact - (sums.index_select(1, at + size) - sums.index_select(1, at)) / size).float()
    offset = exact.mean(1, keepdim=True).square() > sound.OFFSET_POWER * exact.square().mean(1, keepdim=True)
    return torch.where(offset, moved, samples)


def block_powers(samples: torch.Tensor) -> torch.Tensor:
    """Samples (batch, samples) -> the mean power of each block (batch, blocks), float64; the last one is padded."""
    return F.avg_pool1d(F.pad(samples.square(), (0, BLOCK - 1)), BLOCK).double()


def decibels(power: torch.Tensor) -> torch.Tensor:
    """Power -> dB relative to 1; -inf for 0."""
    return 10 * torch.log10(power)
