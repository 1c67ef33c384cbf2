"""Mix the channels of a recording down to one, and measure how they correlate."""

import numpy as np

from speech2face.errors import UserError

CANCELS = 0.1  # channels cancel if their sum has at most this share of the power of a sum of uncorrelated channels
UNCORRELATED = 0.3  # correlation coefficient below which two channels carry different sound
FAINT = 0.01  # a channel with at most this share of the other channel's power is taken for empty


class Mix:
    """Averages the channels block by block, or selects one, and accumulates their covariance.

    channel: index of the channel to select; None: the mean of all channels. name: of the recording, for messages.
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
        """Covariance (channels, channels) of the blocks so far; zero if there was one channel."""
        mean = self.sums / max(self.count, 1)
        return self.products / max(self.count, 1) - np.outer(mean, mean)

    @property
    def louder(self) -> int | None:
        """Index of the loudest channel if the channels cancel each other in the mean, else None."""
        powers = np.diag(self.covariance)
        if powers.max() <= 0 or self.covariance.sum() > CANCELS * powers.sum():
            return None
        # The channels of inverted stereo are equal except for rounding: take the first.
        return int(np.flatnonzero(powers > 0.8 * powers.max())[0])

    @property
    def apart(self) -> bool:
        """Whether there are two channels that carry different sound: neither is empty, and they hardly correlate."""
        powers = np.diag(self.covariance)
        if len(powers) != 2 or powers.min() <= FAINT * powers.max():
            return False
        return abs(self.covariance[0, 1]) < UNCORRELATED * float(np.sqrt(powers.prod()))
