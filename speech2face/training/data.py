"""What training reads of a dataset. Whatever is random about an item follows from the seed, the epoch and the item.

So a training that is resumed sees what it would have seen.
"""

import hashlib
import itertools
import json
import logging
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler
from tqdm import tqdm

from speech2face.dataset import Files
from speech2face.errors import UserError, reason
from speech2face.evaluation.features import Features
from speech2face.files import atomic
from speech2face.preprocessing.audio import Audio, dbfs
from speech2face.preprocessing.decode import decode_audio
from speech2face.training.augmentation import another_tract, at_another_speed, recorded, spec_augment

log = logging.getLogger(__name__)
SMALL = 28  # pixels of a normalized face in small
PAIRINGS = ("all_to_all", "one_to_one", "all_to_one")
Item = tuple[int, int]  # epoch, row


class Shuffled(Sampler[Item]):
    """(epoch, row) of every row, in another order every epoch; of several processes, each gets its share.

    starts: where each person's rows begin, and the end; then an epoch has as many rows, and everybody equally many of
    them, at random.
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
        order = np.resize(order, len(self) * self.world)  # the same number for everybody
        return ((self.epoch, int(row)) for row in order[self.rank :: self.world])


class Photos(Dataset):
    """Photos as a face encoder sees them: {"photo": (size, size, 3) uint8, "person", "row"} and traits by name.

    pixels: (n, size, size, 3) uint8. people: (n,) whose photo it is, as a number. traits: by name (n,), numbers
    standardised with NaN where unknown, or classes as whole numbers with -1. portraits: of every person the normalized
    face in small and its landmarks; then {"portrait": (SMALL, SMALL, 3) in [0, 1], "landmarks": (72, 2)} are there too.
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

    def __getitem__(self, item: Item) -> dict[str, Any]:
        _, row = item
        person = self.people[row]
        known = {name: values[row] for name, values in self.traits.items()}
        if self.portraits:
            known |= {"portrait": self.portraits[0][person], "landmarks": self.portraits[1][person]}
        return {"photo": torch.from_numpy(np.array(self.pixels[row])), "person": person, "row": row} | known


class Portraits(Dataset):
    """What a decoder is to draw.

    {"feature": (4096,), "picture": (224, 224, 3) uint8, "landmarks": (72, 2), "seen": by a face encoder, "row"}.

    features: of n photos, and then of others, such as recordings. pictures, landmarks: of m normalized faces; which:
    for each of the features, the one that belongs to it.
    """

    def __init__(
        self, features: Sequence[Features], pictures: np.ndarray, landmarks: np.ndarray, which: Sequence[np.ndarray]
    ) -> None:
        self.features, self.pictures, self.landmarks, self.which = features, pictures, landmarks, which
        self.ends = np.cumsum([len(one) for one in which])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, item: Item) -> dict[str, Any]:
        _, row = item
        source = int(np.searchsorted(self.ends, row, side="right"))
        place = row - (self.ends[source] - len(self.which[source]))
        picture = self.which[source][place]
        return {
            "feature": torch.from_numpy(np.array(self.features[source][place])),
            "picture": torch.from_numpy(np.array(self.pictures[picture])),
            "landmarks": torch.from_numpy(self.landmarks[picture]),
            "seen": source == 0,
            "row": row,
        }


class Clips(Dataset):
    """Recordings with a face each: {"features": what the encoder takes, "face": (4096,), "person", "row"}, and traits.

    root, files: where recordings are. people: names; rows starts[i] to starts[i + 1] of this dataset are recordings of
    person i, all that `files` has of them. photos, likewise: of the rows of `faces` that each has, one at least.
    pairing: all_to_all, any photo of the speaker, another one every epoch; one_to_one, the first recording with the
    first photo and so on; all_to_one, every recording with the first photo.
    seconds: of the window, anywhere in the recording. augment: share of the recordings that are changed, and their
    features masked; with 0 (false) the window is the first one. traits: of every person, by name, as those of `Photos`.
    A recording that cannot be read is passed over for the next.
    """

    def __init__(
        self,
        root: Path,
        files: Files,
        people: Sequence[str],
        photos: np.ndarray,
        faces: Features,
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

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: Item) -> dict[str, Any]:
        epoch, wanted = item
        for row in itertools.chain(range(wanted, len(self)), range(wanted)):
            random = np.random.default_rng([self.seed, epoch, row])
            try:
                features = self.hear(self.rows[row], random)
                break
            except UserError as error:
                log.warning("passed over: %s", error)
        else:
            raise UserError("no recording can be read")
        person = self.people[row]
        first, count = self.photos[person], self.photos[person + 1] - self.photos[person]
        numbers = {"all_to_all": random.integers(count), "one_to_one": row - self.starts[person], "all_to_one": 0}
        face = torch.from_numpy(np.array(self.faces[first + numbers[self.pairing] % count]))
        known = {name: values[person] for name, values in self.traits.items()}
        return {"features": features, "face": face, "person": person, "row": row} | known

    def hear(self, row: int, random: np.random.Generator) -> torch.Tensor:
        """The front end's features of a window of a recording; of one whose length is known, no more is decoded."""
        path, known = self.root / self.files.path(row), self.files.measured(row)
        size = round(self.seconds * self.audio.sample_rate)
        longest = min(known.get("seconds", 0), self.audio.max_seconds or math.inf) - self.audio.offset
        if longest > self.seconds:
            start = random.uniform(0, longest - self.seconds) if self.augment else 0.0
            window, _ = decode_audio(path, self.audio.sample_rate, self.audio.offset + start, self.seconds)
            level = known["level_dbfs"]
        else:
            waveform, _ = self.audio.load(path)
            level = dbfs(waveform)
            start = int(random.integers(max(len(waveform) - size, 0) + 1)) if self.augment else 0
            window = waveform[start : start + size]
        if not min(level, dbfs(window)) >= self.audio.silence_dbfs:
            raise UserError(f"{path}: silent")
        window = np.resize(window, size) * np.float32(10 ** ((self.audio.level_dbfs - level) / 20))
        changed = random.random() < self.augment
        if changed:
            window = another_tract(at_another_speed(window, random), math.exp(random.uniform(-0.2, 0.2)))
            window = recorded(window, random)
            window *= 10 ** ((self.audio.level_dbfs - dbfs(window)) / 20)
        features = self.audio.features(torch.from_numpy(window)[None])[0]
        if changed:
            features = spec_augment(features, -2 if features.ndim == 2 else -1, random)
        return features


def crops(
    root: Path, paths: Sequence[str], preprocessing: Any, directory: Path, workers: int, name: str
) -> tuple[np.ndarray, dict[str, str]]:
    """What a front end leaves of photos below `root`: (n, size, size, 3) uint8, and by path why one cannot be read.

    They are kept in `directory`, in one file that is mapped into memory; a photo that cannot be read is black.
    """
    about = {"root": str(root.absolute()), "crop": preprocessing.crop, "margin": preprocessing.margin}
    about |= {"files": [(path, os.stat(root / path).st_size, os.stat(root / path).st_mtime_ns) for path in paths]}
    shape = (len(paths), preprocessing.size, preprocessing.size, 3)
    file = directory / f"{hashlib.sha256(json.dumps([about, shape]).encode()).hexdigest()[:20]}.u8"
    errors_file = file.with_suffix(".json")
    if not errors_file.exists():
        directory.mkdir(parents=True, exist_ok=True)
        errors: dict[str, str] = {}

        def crop(path: str) -> np.ndarray:
            try:
                return preprocessing(root / path).preview["crop"]
            except UserError as error:
                errors[path] = reason(error, root / path)
                return np.zeros(shape[1:], np.uint8)

        with ThreadPoolExecutor(workers) as executor, atomic(file) as partial, open(partial, "wb") as stream:
            for start in tqdm(range(0, len(paths), 256), f"reading {name}", unit="256 photos"):
                for pixels in executor.map(crop, paths[start : start + 256]):
                    stream.write(np.ascontiguousarray(pixels).data)
        with atomic(errors_file) as partial:
            partial.write_text(json.dumps(errors))
    return np.memmap(file, np.uint8, "r", shape=shape), json.loads(errors_file.read_text())


def in_small(pictures: np.ndarray) -> np.ndarray:
    """(n, 224, 224, 3) uint8 -> (n, SMALL, SMALL, 3) float32 in [0, 1], averaged."""
    step = pictures.shape[1] // SMALL
    shape = (SMALL, step, SMALL, step, 3)
    return np.stack([picture.reshape(shape).mean((1, 3), dtype=np.float32) / 255 for picture in pictures])
