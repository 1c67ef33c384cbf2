"""Datasets of the trainings.

The randomness of an item depends only on seed, epoch and row, so a resumed training reads the same items as one that
was never interrupted.
"""

import itertools
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import Dataset

from speech2face.data.listing import Files
from speech2face.errors import UserError, defect, reason
from speech2face.inference.cache import Embeddings
from speech2face.preprocessing.audio import Audio
from speech2face.preprocessing.sound import sounding_samples
from speech2face.training.augmentation import augment_recording, perturb_speed, perturb_vocal_tract, spec_augment

if TYPE_CHECKING:
    from speech2face.training.pairing import Matches
    from speech2face.training.trunks import Trunks

log = logging.getLogger(__name__)
MEASURED_SECONDS = 60.0  # pipeline=prepare measures the level of this part of a recording
Item = tuple[int, int]  # epoch, row
Example = dict[str, torch.Tensor | np.ndarray | np.generic | int | bool]


class Photos(Dataset):
    """Photos as the front end crops them. An item is {"photo": (size, size, 3) uint8, "person", "row"} and more.

    pixels: (n, size, size, 3) uint8. people: (n,), number of the person on each photo.
    known: by name: traits (n,), as standardised numbers, NaN where unknown, or class indices, -1 where unknown; and the
        "descriptor" (n, width) of a teacher, NaN where unknown.
    portraits: thumbnails of the normalized faces and landmarks, by person. If they are given, an item also has
        {"portrait": (28, 28, 3) in [0, 1], NaN where unknown, "landmarks": (72, 2)}.
    """

    def __init__(
        self,
        pixels: np.ndarray,
        people: np.ndarray,
        known: dict[str, np.ndarray],
        portraits: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        self.pixels, self.people, self.known, self.portraits = pixels, people, known, portraits

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, item: Item) -> Example:
        _, row = item
        person = self.people[row]
        known = {name: values[row] for name, values in self.known.items()}
        if self.portraits:
            known |= {"portrait": self.portraits[0][person], "landmarks": self.portraits[1][person]}
        return {"photo": torch.from_numpy(np.array(self.pixels[row])), "person": person, "row": row} | known


class Portraits(Dataset):
    """Embeddings, each with the normalized face that a decoder should draw from it.

    An item is {"embedding": (4096,), "picture": (224, 224, 3) uint8, "mask": (224, 224) uint8, "landmarks": (72, 2),
    "from_photo": bool, "row"}.

    embeddings: several arrays (n, 4096), first those of photos, then those of other inputs, such as recordings.
    pictures, landmarks, masks: of m normalized faces; a mask is 0 where the picture is unknown, 1 in the background,
    and 2 on the person. which: for each array of embeddings, (n,) indices of the faces.
    """

    def __init__(
        self,
        embeddings: Sequence[Embeddings],
        pictures: np.ndarray,
        landmarks: np.ndarray,
        masks: np.ndarray,
        which: Sequence[np.ndarray],
    ) -> None:
        self.embeddings, self.pictures, self.landmarks, self.which = embeddings, pictures, landmarks, which
        self.masks = masks
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
            "mask": torch.from_numpy(np.array(self.masks[picture])),
            "landmarks": torch.from_numpy(self.landmarks[picture]),
            "from_photo": source == 0,
            "row": row,
        }


class Clips(Dataset):
    """Recordings, each with the embedding of a photo of the speaker.

    An item is {"features": the encoder's input, "face": (4096,), "has_face": bool, "person", "row"} and its traits. A
    recording that cannot be read is replaced by the next one, with a warning, and is not tried again; see `failures`.
    If `cached` has been set (speech2face.training.trunks), an item has "trunk", the input of the encoder's head, in
    place of "features".

    root, files: the recordings. people: names; rows starts[i] to starts[i + 1] are all recordings of person i.
    photos: (people + 1,); rows photos[i] to photos[i + 1] of `faces` are the photos of person i. Where there are none,
        "has_face" is False and "face" is 0.
    pairing: all_to_all: a random photo of the speaker, another one every epoch; one_to_one: the first recording with
        the first photo, and so on; all_to_one: every recording with the first photo.
    seconds: length of the window, which is at a random place. augment: share of the recordings that are augmented and
        whose features are masked; with 0 the window is the first one.
    traits: (people,) by name, encoded as those of `Photos`.
    vocal_tract: greatest logarithm of the factor by which augmentation changes the length of the vocal tract.
    matches: photos of other people by person, which are drawn from instead of the speaker's own.
    pairs: an item also has "second", which is another recording of the speaker, or another window of the only one.
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
        pairs: bool = False,
        matches: "Matches | None" = None,
        vocal_tract: float = 0.2,
    ) -> None:
        self.vocal_tract = vocal_tract
        self.traits, self.pairs, self.matches = traits or {}, pairs, matches
        self.cached: Trunks | None = None
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
        row, heard = self.hear(epoch, wanted)
        random = np.random.default_rng([self.seed, epoch, row, 1])
        person, what = self.people[row], "features" if self.cached is None else "trunk"
        photo = self.photo(person, row, random)
        face = torch.zeros(self.faces.shape[1]) if photo is None else torch.from_numpy(np.array(self.faces[photo]))
        known = {name: values[person] for name, values in self.traits.items()}
        if self.pairs:
            known["second"] = self.second(epoch, row, random)
        return {what: heard, "face": face, "has_face": photo is not None, "person": person, "row": row} | known

    def photo(self, person: int, row: int, random: np.random.Generator) -> int | None:
        """The row of `faces` that a recording is paired with; None if there is none."""
        if self.matches:
            return self.matches.draw(person, random)
        first, count = self.photos[person], self.photos[person + 1] - self.photos[person]
        if not count:
            return None
        numbers = {"all_to_all": random.integers(count), "one_to_one": row - self.starts[person], "all_to_one": 0}
        return first + numbers[self.pairing] % count

    def second(self, epoch: int, row: int, random: np.random.Generator) -> torch.Tensor:
        """What is heard in another recording of the speaker of a row, or in another window of the only one."""
        person = self.people[row]
        others = np.setdiff1d(np.arange(self.starts[person], self.starts[person + 1]), [row])
        found, heard = self.hear(epoch + 1, int(random.choice(others)) if len(others) else row)
        return heard if self.people[found] == person else self.hear(epoch + 1, row)[1]

    def hear(self, epoch: int, wanted: int) -> tuple[int, torch.Tensor]:
        """The row that is read, which is the wanted one or the next that can be read, and its features or trunk."""
        if self.cached is not None:
            return self.cached[epoch, wanted]
        for row in itertools.chain(range(wanted, len(self)), range(wanted)):
            if self.lost[row]:
                continue
            try:
                return row, self.features(self.rows[row], np.random.default_rng([self.seed, epoch, row]))
            except UserError as error:
                log.warning("passed over: %s", error)
            except Exception as error:  # codecs raise anything, and one file must not end a training
                log.warning("passed over: %s (%s)", self.root / self.files.path(self.rows[row]), defect(error))
            self.lost[row] = True
        raise UserError(f"{self.root}: no recording can be read: each one is damaged or silent (see above)")

    def features(self, row: int, random: np.random.Generator) -> torch.Tensor:
        """Features of a window of a recording, augmented with probability `augment`. row: of `files`."""
        window = self.window(self.root / self.files.path(row), self.files.measured(row), random)
        augmented = random.random() < self.augment
        if augmented:
            window = perturb_vocal_tract(
                perturb_speed(window, random), math.exp(random.uniform(-1, 1) * self.vocal_tract)
            )
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
            if not sounding_samples(sound.spans, start, size):
                raise UserError(f"{path}: the window is silent")
        return np.resize(window, size)
