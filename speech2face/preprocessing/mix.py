"""Channels -> one channel, and what their correlation tells about them."""

import numpy as np

from speech2face.errors import UserError

CANCELS = 0.1  # power of the sum of channels, relative to that of channels that have nothing in common
UNCORRELATED = 0.3
FAINT = 0.01  # a channel with less power than this share of the other's carries nothing of its own


class Mix:
    """Averages channels block by block, or takes one, and keeps their covariance.

    channel: number of the channel to take; None: the mean of all. name: of the recording, for messages.
    """

    def __init__(self, channel: int | None, name: str) -> None:
        self.channel, self.name = channel, name
        self.count, self.sums, self.products = 0, np.zeros(1), np.zeros((1, 1))

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """(samples, channels) -> (samples,) float32. Raises UserError if there is no such channel."""
        channels = block.shape[1]
        if self.channel is not None:
            if self.channel >= channels:
                numbers = ", ".join(map(str, range(channels)))
                raise UserError(f"{self.name}: preprocessing.channel={self.channel}: its channels are {numbers}")
            return block[:, self.channel].astype(np.float32)
        if channels > 1:
            exact = np.nan_to_num(block.astype(np.float64), posinf=0.0, neginf=0.0)
            self.count += len(exact)
            self.sums = self.sums + exact.sum(axis=0)
            self.products = self.products + exact.T @ exact
        return block.mean(axis=1, dtype=np.float32)

    @property
    def covariance(self) -> np.ndarray:
        """(channels, channels) of what has been mixed, about the mean; zeros if there was one channel."""
        mean = self.sums / max(self.count, 1)
        return self.products / max(self.count, 1) - np.outer(mean, mean)

    @property
    def louder(self) -> int | None:
        """The first of the loudest channels if the channels cancel each other in the mean, else None."""
        powers = np.diag(self.covariance)
        if powers.max() <= 0 or self.covariance.sum() > CANCELS * powers.sum():
            return None
        return int(
            np.flatnonzero(powers > 0.8 * powers.max())[0]
        )  # those of inverted stereo are equal but for rounding

    @property
    def apart(self) -> bool:
        """Whether two channels carry different sound: as loud as each other, and nearly uncorrelated."""
        powers = np.diag(self.covariance)
        if len(powers) != 2 or powers.min() <= FAINT * powers.max():
            return False
        return abs(self.covariance[0, 1]) < UNCORRELATED * float(np.sqrt(powers.prod()))
