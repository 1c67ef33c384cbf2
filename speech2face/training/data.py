"""Datasets of the trainings, and the sampler of their rows.

The randomness of an item depends only on seed, epoch and row, so a resumed training reads the same items as one that
was never interrupted.
"""

import itertools
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from speech2face.data.dataset import Files
from speech2face.errors import UserError, defect, reason
from speech2face.inference.cache import Embeddings
from speech2face.preprocessing.audio import Audio, dbfs
from speech2face.training.augmentation import augment_recording, perturb_speed, perturb_vocal_tract, spec_augment

log = logging.getLogger(__name__)
MEASURED_SECONDS = 60.0  # pipeline=prepare measures the level of this part of a recording
Item = tuple[int, int]  # epoch, row
Example = dict[str, torch.Tensor | np.ndarray | np.generic | int | bool]


class Shuffled(Sampler[Item]):
    """Yields (epoch, row) for every row, in another order every epoch.

    rank, world: number of this process and of all processes; each gets an equal share of the rows.
    shuffle: False: in the order of the rows.
    starts: (people + 1,), the first row of each person, and the number of rows. If it is given, an epoch draws rows at
        random, equally many of each person, and as many rows in all.
    """

    def __init__(
        self,
        rows: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        shuffle: bool = True,
        starts: np.ndarray | None = None,
    ) -> None:
        self.rows, self.seed, self.rank, self.world, self.shuffle, self.starts = (
            rows,
            seed,
            rank,
            world,
            shuffle,
            starts,
        )
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration. Lightning calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.rows // self.world)

    def __iter__(self) -> Iterator[Item]:
        order = np.arange(self.rows)
        random = np.random.default_rng([self.seed, self.epoch])
        if self.starts is not None:
            counts = np.diff(self.starts)
            rounds = -(-self.rows // len(counts))
            people = np.concatenate([random.permutation(len(counts)) for _ in range(rounds)])[: self.rows]
            order = self.starts[people] + (random.random(self.rows) * counts[people]).astype(np.int64)
        elif self.shuffle:
            order = random.permutation(order)
        order = np.resize(order, len(self) * self.world)  # every process needs the same number
        return ((self.epoch, int(row)) for row in order[self.rank :: self.world])


class Photos(Dataset):
    """Photos as the front end crops them. An item is {"photo": (size, size, 3) uint8, "person", "row"} and its traits.

    pixels: (n, size, size, 3) uint8. people: (n,), number of the person on each photo.
    traits: (n,) by name: standardised numbers, NaN where unknown, or class indices, -1 where unknown.
    portraits: thumbnails of the normalized faces and landmarks, by person. If they are given, an item also has
        {"portrait": (28, 28, 3) in [0, 1], "landmarks": (72, 2)}.
    """

    def __init__(
        self,
        pixels: np.ndarray,
        people: np.ndarray,
        traits: dict[str, np.ndarray],
        portraits: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        self.pixels, self.people, self.traits, self.portraits = pixels, people, traits, portraits

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, item: Item) -> Example:
        _, row = item
        person = self.people[row]
        known = {name: values[row] for name, values in self.traits.items()}
        if self.portraits:
            known |= {"portrait": self.portraits[0][person], "landmarks": self.portraits[1][person]}
        return {"photo": torch.from_numpy(np.array(self.pixels[row])), "person": person, "row": row} | known


class Portraits(Dataset):
    """Embeddings, each with the normalized face that a decoder should draw from it.

    An item is {"embedding": (4096,), "picture": (224, 224, 3) uint8, "landmarks": (72, 2), "from_photo": bool, "row"}.

    embeddings: several arrays (n, 4096), first those of photos, then those of other inputs, such as recordings.
    pictures, landmarks: of m normalized faces. which: for each array of embeddings, (n,) indices of the faces.
    """

    def __init__(
        self, embeddings: Sequence[Embeddings], pictures: np.ndarray, landmarks: np.ndarray, which: Sequence[np.ndarray]
    ) -> None:
        self.embeddings, self.pictures, self.landmarks, self.which = embeddings, pictures, landmarks, which
        self.ends = np.cumsum([len(one) for one in which])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, item: Item) -> Example:
        _, row = item
        source = int(np.searchsorted(self.ends, row, side="right"))
        place = row - (self.ends[source] - len(self.which[source]))
        picture = self.which[source][place]
        return {
            "embedding": torch.from_numpy(np.array(self.embeddings[source][place])),
            "picture": torch.from_numpy(np.array(self.pictures[picture])),
            "landmarks": torch.from_numpy(self.landmarks[picture]),
            "from_photo": source == 0,
            "row": row,
        }


class Clips(Dataset):
    """Recordings, each with the embedding of a photo of the speaker.

    An item is {"features": the encoder's input, "face": (4096,), "person", "row"} and its traits. A recording that
    cannot be read is replaced by the next one, with a warning, and is not tried again; see `failures`.

    root, files: the recordings. people: names; rows starts[i] to starts[i + 1] are all recordings of person i.
    photos: (people + 1,); rows photos[i] to photos[i + 1] of `faces`, at least one, are the photos of person i.
    pairing: all_to_all: a random photo of the speaker, another one every epoch; one_to_one: the first recording with
        the first photo, and so on; all_to_one: every recording with the first photo.
    seconds: length of the window, which is at a random place. augment: share of the recordings that are augmented and
        whose features are masked; with 0 the window is the first one.
    traits: (people,) by name, encoded as those of `Photos`.
    """

    def __init__(
        self,
        root: Path,
        files: Files,
        people: Sequence[str],
        photos: np.ndarray,
        faces: Embeddings,
        audio: Audio,
        pairing: str = "all_to_all",
        seconds: float = 6.0,
        augment: float = 1.0,
        seed: int = 0,
        traits: dict[str, np.ndarray] | None = None,
    ) -> None:
        self.traits = traits or {}
        self.root, self.files, self.photos, self.faces = root, files, photos, faces
        self.audio, self.pairing, self.seconds, self.augment, self.seed = audio, pairing, seconds, augment, seed
        rows = [files.of(person) for person in people]
        self.starts = np.cumsum([0, *map(len, rows)])
        self.rows = np.concatenate([np.arange(one.start, one.stop) for one in rows])
        self.people = np.repeat(np.arange(len(people)), np.diff(self.starts))
        self.lost = torch.zeros(len(self.rows), dtype=torch.bool).share_memory_()  # by all processes that read

    def __len__(self) -> int:
        return len(self.rows)

    def failures(self) -> dict[str, str]:
        """Why recordings were passed over, by path."""
        found = {}
        for row in self.lost.nonzero().ravel().tolist():
            path = self.files.path(self.rows[row])
            try:
                self.features(self.rows[row], np.random.default_rng(self.seed))
            except UserError as error:
                found[path] = reason(error, self.root / path)
            except Exception as error:
                found[path] = defect(error)
        return found

    def __getitem__(self, item: Item) -> Example:
        epoch, wanted = item
        for row in itertools.chain(range(wanted, len(self)), range(wanted)):
            if self.lost[row]:
                continue
            random = np.random.default_rng([self.seed, epoch, row])
            try:
                features = self.features(self.rows[row], random)
                break
            except UserError as error:
                log.warning("passed over: %s", error)
            except Exception as error:  # codecs raise anything, and one file must not end a training
                log.warning("passed over: %s (%s)", self.root / self.files.path(self.rows[row]), defect(error))
            self.lost[row] = True
        else:
            raise UserError(f"{self.root}: no recording can be read: each one is damaged or silent (see above)")
        person = self.people[row]
        first, count = self.photos[person], self.photos[person + 1] - self.photos[person]
        numbers = {"all_to_all": random.integers(count), "one_to_one": row - self.starts[person], "all_to_one": 0}
        face = torch.from_numpy(np.array(self.faces[first + numbers[self.pairing] % count]))
        known = {name: values[person] for name, values in self.traits.items()}
        return {"features": features, "face": face, "person": person, "row": row} | known

    def features(self, row: int, random: np.random.Generator) -> torch.Tensor:
        """Features of a window of a recording, augmented with probability `augment`. row: of `files`."""
        window = self.window(self.root / self.files.path(row), self.files.measured(row), random)
        augmented = random.random() < self.augment
        if augmented:
            window = perturb_vocal_tract(perturb_speed(window, random), math.exp(random.uniform(-0.2, 0.2)))
            window = self.audio.to_level(augment_recording(window, random))
        features = self.audio.features(torch.from_numpy(window)[None])[0]
        if augmented and self.audio.time_axis is not None:
            features = spec_augment(features, self.audio.time_axis, random)
        return features

    def window(self, path: Path, measured: dict[str, float], random: np.random.Generator) -> np.ndarray:
        """A window (samples,) of a recording, at the front end's level as in inference.

        The window is at a random place, or the first one without augmentation. A short recording is repeated. If
        `measured` has the duration and level of the recording, only the window is decoded.
        """
        audio, size = self.audio, round(self.seconds * self.audio.sample_rate)
        used = audio.max_seconds or math.inf
        known = measured.get("seconds", 0.0)
        if audio.offset == 0 and min(known, used) > self.seconds and min(known, used) == min(known, MEASURED_SECONDS):
            start = random.uniform(0, min(known, used) - self.seconds) if self.augment else 0.0
            window = audio.read(path, start=start, seconds=self.seconds, level=measured["level_dbfs"]).waveform
        else:
            sound = audio.read(path)
            start = int(random.integers(max(len(sound.waveform) - size, 0) + 1)) if self.augment else 0
            window = sound.waveform[start : start + size]
            if not dbfs(window) + sound.level_dbfs - audio.level_dbfs >= audio.silence_dbfs:
                raise UserError(f"{path}: the window is silent")
        return np.resize(window, size)
