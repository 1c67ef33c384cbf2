"""The rows of an epoch: their order, and several datasets that are drawn from at once."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Dataset, Sampler

from speech2face.training.data import Clips, Example, Item


class Shuffled(Sampler[Item]):
    """Yields (epoch, row) for every row, in another order every epoch.

    rank, world: number of this process and of all processes; each gets an equal share of the rows.
    shuffle: False: in the order of the rows.
    starts: (people + 1,), the first row of each person, and the number of rows. If it is given, an epoch draws rows at
        random, equally many of each person, and as many rows in all.
    parts: (rows, weight) of parts of the rows. If they are given, an epoch draws from the parts in proportion to their
        weights, and as many rows in all.
    repeat: every epoch is the first one again.
    """

    def __init__(
        self,
        rows: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        shuffle: bool = True,
        starts: np.ndarray | None = None,
        parts: Sequence[tuple[int, float]] = (),
        repeat: bool = False,
    ) -> None:
        self.rows, self.seed, self.rank, self.world, self.shuffle = rows, seed, rank, world, shuffle
        self.starts, self.parts, self.repeat, self.epoch = starts, parts, repeat, 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration. Lightning calls it."""
        self.epoch = 0 if self.repeat else epoch

    def __len__(self) -> int:
        return -(-self.rows // self.world)

    def __iter__(self) -> Iterator[Item]:
        random = np.random.default_rng([self.seed, self.epoch])
        if not self.shuffle:
            order = np.arange(self.rows)
        elif not self.parts:
            order = self.draw(0, self.rows, self.rows, random)
        else:
            sizes, weights = zip(*self.parts, strict=True)
            ends = np.round(self.rows * np.cumsum(weights) / np.sum(weights)).astype(int)
            firsts = np.cumsum([0, *sizes[:-1]])
            drawn = zip(firsts, sizes, np.diff(ends, prepend=0), strict=True)
            order = random.permutation(np.concatenate([self.draw(*one, random) for one in drawn]))
        order = np.resize(order, len(self) * self.world)  # every process needs the same number
        return ((self.epoch, int(row)) for row in order[self.rank :: self.world])

    def draw(self, first: int, rows: int, wanted: int, random: np.random.Generator) -> np.ndarray:
        """`wanted` of the rows from `first` on: all equally often, or with `starts` all people equally often."""
        starts = None if self.starts is None else self.starts[(self.starts >= first) & (self.starts <= first + rows)]
        number = rows if starts is None else len(starts) - 1
        rounds = -(-wanted // number)
        drawn = np.concatenate([np.arange(0), *(random.permutation(number) for _ in range(rounds))])[:wanted]
        if starts is None:
            return first + drawn
        return starts[drawn] + (random.random(wanted) * np.diff(starts)[drawn]).astype(np.int64)


class Mixture(Dataset):
    """The recordings of several datasets, one after another. People of different datasets are different people.

    clips: of each dataset. weights: how often an epoch draws from each.
    """

    def __init__(self, clips: Sequence[Clips], weights: Sequence[float]) -> None:
        self.clips = clips
        self.parts = [(len(one), weight) for one, weight in zip(clips, weights, strict=True)]
        self.ends = np.cumsum([len(one) for one in clips])
        self.before = np.cumsum([0, *(len(one.starts) - 1 for one in clips)])  # people in earlier datasets
        self.people = np.concatenate([one.people + n for one, n in zip(clips, self.before[:-1], strict=True)])
        firsts = [0, *self.ends[:-1]]
        self.starts = np.append(
            np.concatenate([one.starts[:-1] + first for one, first in zip(clips, firsts, strict=True)]), self.ends[-1]
        )

    def __len__(self) -> int:
        return int(self.ends[-1])

    @property
    def cached(self) -> bool:
        """Whether all of them have the outputs of a trunk."""
        return all(one.cached for one in self.clips)

    def failures(self) -> dict[str, str]:
        """Why recordings were passed over, by absolute path."""
        return {str(one.root / path): why for one in self.clips for path, why in one.failures().items()}

    def __getitem__(self, item: Item) -> Example:
        epoch, row = item
        number = int(np.searchsorted(self.ends, row, side="right"))
        first = self.ends[number] - len(self.clips[number])
        found = self.clips[number][epoch, int(row - first)]
        return found | {"row": int(found["row"] + first), "person": found["person"] + self.before[number]}
