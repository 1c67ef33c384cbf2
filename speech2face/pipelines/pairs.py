"""The pairs of recordings and photos that pipeline=train_voice and pipeline=train_prior learn from."""

import dataclasses
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from speech2face.config.options import TrainPrior, TrainVoice
from speech2face.data.dataset import Dataset, read_dataset
from speech2face.errors import UserError
from speech2face.pipelines.training import learners
from speech2face.run.record import Run

if TYPE_CHECKING:
    from speech2face.inference.cache import Embeddings
    from speech2face.inference.encoder import Encoder
    from speech2face.training.data import Clips
    from speech2face.training.mixture import Mixture
    from speech2face.training.traits import Trait
    from speech2face.weights.load import Loaded

Source = tuple[Dataset, dict[str, list[str]]]  # a dataset, and its people by split
Paired = TrainVoice | TrainPrior


@dataclass
class Pairs:
    """Recordings with photos. sets: by split ("train", "val"). errors: by path, of photos that could not be read.

    faces, owners: embeddings (n, 4096) of photos of split train, and the person on each, of a dataset.
    shown, photos: recordings of split val of one dataset, and the first photo of each person, by number.
    """

    sets: "dict[str, Clips | Mixture]"
    faces: np.ndarray
    owners: tuple[Dataset, list[str]]
    shown: "Clips"
    photos: dict[int, Path]
    errors: dict[str, str]


def pair(
    options: Paired,
    run: Run,
    sources: list[Source],
    encoder: "Loaded",
    face: "Encoder",
    heads: "dict[str, Trait] | None" = None,
    alone: bool = False,
    second: bool = False,
    frozen: bool = True,
) -> Pairs:
    """Pair the recordings of each dataset with photos, as options.training says.

    encoder: of the recordings. face: embeds the photos. heads: traits that the pairs have. alone: whether people
    without a photo take part. second: whether the pairs have a second recording. frozen: whether the encoder's trunk
    is; what it makes of the recordings is then computed once. Raises UserError if a split has no pair.
    """
    from speech2face.data.embeddings import embed_photos
    from speech2face.training.data import Clips
    from speech2face.training.loop import training_precision
    from speech2face.training.mixture import Mixture
    from speech2face.training.pairing import match
    from speech2face.training.traits import encode_traits
    from speech2face.training.trunks import cache_trunks, has_trunk

    training, dataset, audio = options.training, sources[0][0], encoder.preprocessing
    window = audio.window_seconds or 6.0
    photographed = photographs(options) if training.pairing == "traits" else {}
    errors: dict[str, str] = {}
    cache, workers = Path(training.cache).expanduser(), max(options.workers, 1)
    known: list[tuple[Embeddings, tuple[Dataset, list[str]]]] = []  # photos of split train
    seen: dict[str, list[dict[int, Path]]] = {"train": [], "val": []}  # of each dataset, the first photo by person

    def clips_of(source: Source, split: str) -> Clips:
        """The recordings of a split of a dataset, with the photos of the speakers."""
        one, speakers = source[0], source[1][split]
        others, owners = photographed.get(split, (one, speakers))
        photos = embed_photos(others, owners, face, cache, workers, f"{split} photos")
        errors.update({path if others is dataset else str(others.root / path): e for path, e in photos.errors.items()})
        if split == "train" and not known:
            people = np.repeat(np.arange(len(owners)), np.diff(photos.starts))
            known.append((photos.embeddings, (others, [owners[i] for i in people])))
        with_photo, starts, matches = np.diff(photos.starts) > 0, photos.starts, None
        if photographed:
            pictured = [owner for owner, has in zip(owners, with_photo, strict=True) if has]
            matches = match((one, speakers), (others, pictured), training.match)
            speakers, matches = matches.fitting(speakers, starts[:-1][with_photo])
            firsts = {i: matches.draw(i, np.random.default_rng(i)) for i in range(len(speakers))}
        else:
            if not alone:
                speakers = [speakers[i] for i in np.flatnonzero(with_photo)]
                starts = starts[np.append(with_photo, True)]
            firsts = {i: start for i, (start, end) in enumerate(itertools.pairwise(starts)) if end > start}
        if not speakers:
            raise UserError(f"{one.root}: no person of split {split} has a recording and a photo")
        firsts = {i: others.root / photos.paths[row] for i, row in firsts.items()}
        seen[split].append(firsts)
        return Clips(
            one.root,
            one.files["speech"],
            speakers,
            starts,
            photos.embeddings,
            audio,
            pairing=training.pairing if split == "train" else "all_to_one",
            seconds=(training.seconds or window) if split == "train" else window,
            augment=training.augment if split == "train" else 0.0,
            seed=options.seed,
            traits=encode_traits(one, speakers, heads or {}),
            pairs=split == "train" and second,
            matches=matches,
            vocal_tract=training.vocal_tract,
        )

    with run.stage("read"):
        clips = {split: [clips_of(source, split) for source in sources] for split in seen}
    for split, one in seen.items():
        if not any(one):
            raise UserError(f"data.root={dataset.root}: no person of split {split} has a recording and a photo")
    if frozen and has_trunk(encoder.network):
        what = {"preprocessing": encoder.part.preprocessing, "code": audio.versions}
        precision = training_precision(options.precision, options.trainer, options.device)
        with run.stage("hear"):
            for split in clips:
                for one in clips[split]:
                    cache_trunks(
                        one, encoder.network, what, training.versions, cache, options.device, precision,
                        options.batch_size, options.workers, f"{split} recordings",
                    )  # fmt: skip
    weights = [1.0, *(options.data.mix or {}).values()]
    sets = {split: Mixture(some, weights) if len(some) > 1 else some[0] for split, some in clips.items()}
    shown = next(i for i, one in enumerate(seen["val"]) if one)
    faces, owners = known[0]
    return Pairs(sets, np.asarray(faces), owners, clips["val"][shown], seen["val"][shown], errors)


def photographs(options: Paired) -> dict[str, tuple[Dataset, list[str]]]:
    """The dataset of the photos for training.pairing=traits, and its people with a photo, by split."""
    dataset = read_dataset(options.data.faces or options.data.root, options.data.where, "data.faces")
    return {split: (dataset, people) for split, people in learners(dataset, "face").items()}


def mix(options: Paired, run: Run) -> tuple[Paired, dict[str, Source]]:
    """Read the datasets of data.mix. Returns the options with absolute directories, and the datasets by these."""
    directories = {str(Path(one).expanduser().absolute()): weight for one, weight in (options.data.mix or {}).items()}
    options = dataclasses.replace(options, data=dataclasses.replace(options.data, mix=directories or None))
    with run.stage("find"):
        datasets = {directory: read_dataset(directory, option="data.mix") for directory in directories}
    mixed = {directory: (one, learners(one, "speech")) for directory, one in datasets.items()}
    for directory, (_, people) in mixed.items():
        if not all(people.values()):
            raise UserError(f"data.mix={directory}: too few people with recordings to train and to validate on")
    return options, mixed
