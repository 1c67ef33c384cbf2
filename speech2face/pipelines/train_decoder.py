"""`pipeline=train_decoder`: train a decoder on a dataset in the project's layout."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from speech2face.config.options import TrainDecoder
from speech2face.data.dataset import Dataset
from speech2face.errors import UserError
from speech2face.pipelines.parts import build_encoder
from speech2face.pipelines.resume import check_resumed
from speech2face.pipelines.training import Job, begin, carry_out, common, load
from speech2face.run.record import Run

if TYPE_CHECKING:
    from speech2face.inference.cache import Embeddings
    from speech2face.weights.load import Loaded


def train_decoder(options: TrainDecoder, run: Run) -> int:
    """Train options.decoder to draw the normalized face of a person from the embedding of a photo of the person.

    options.encoder makes the embeddings. With `voices`, embeddings of recordings by voice encoders are added. Returns 1
    if a file could not be read, else 0.
    """
    options, dataset, people = begin(options, run, "face")
    import torch
    import torch.nn.functional as F

    from speech2face.data.embeddings import embed_photos
    from speech2face.decoders.base import Examples, TrainableDecoder
    from speech2face.training.crops import normalized_faces
    from speech2face.training.data import Portraits
    from speech2face.training.decoder import DecoderTraining
    from speech2face.training.sheets import draw_portraits

    training = options.training
    loaded = load(options, run)
    encoder, decoder = build_encoder(loaded["encoder"], options), loaded["decoder"]
    if not isinstance(decoder.network, TrainableDecoder):
        raise UserError(
            f"decoder={options.decoder.option}: its class is no TrainableDecoder (speech2face.decoders.base)"
        )
    if options.trainer.get("max_epochs") == 0 and not decoder.network.closed_form:
        raise UserError("trainer.max_epochs=0 trains nothing: give at least 1")
    cache, crops = (Path(one).expanduser() for one in (training.cache, training.crops))
    workers = max(options.workers, 1)
    sets: dict[str, Portraits] = {}
    owners: dict[str, list[str]] = {}
    errors: dict[str, str] = {}
    check_resumed(options, run, loaded, dataset, people)
    with run.stage("read"):
        for split in people:
            owners[split] = [person for person in people[split] if person in dataset.normalized]
            if not owners[split]:
                raise UserError(
                    f"data.root={dataset.root}: no normalized face of split {split} (prepared/normalized.parquet)"
                )
            photos = embed_photos(dataset, owners[split], encoder, cache, workers, f"{split} photos")
            errors |= photos.errors
            pictures, landmarks, masks = normalized_faces(dataset, owners[split], crops, workers, split)
            embeddings, which = [photos.embeddings], [np.repeat(np.arange(len(owners[split])), np.diff(photos.starts))]
            for slot, voice in loaded.items() if split == "train" else ():
                if slot.startswith("voices."):
                    of_voices, speakers, failed = embed_voices(options, dataset, owners[split], voice)
                    errors |= failed
                    embeddings.append(of_voices)
                    which.append(speakers)
            sets[split] = Portraits(embeddings, pictures, landmarks, masks, which)
    front_end = encoder.preprocessing
    if decoder.untrained:
        train = sets["train"]
        pictures = train.pictures, train.landmarks, train.masks
        with run.stage("fit"):
            decoder.network.fit(Examples(train.embeddings[0], train.which[0], *pictures, owners["train"]))

    def normalize(pictures: torch.Tensor) -> torch.Tensor:
        return front_end.normalize(F.interpolate(pictures, (front_end.size,) * 2, mode="bilinear", antialias=True))

    module = DecoderTraining(decoder.network, normalize=normalize, frozen={"face": encoder.network}, **common(options))
    draw = partial(draw_portraits, rows=sets["val"], names=owners["val"])
    return carry_out(options, run, Job(loaded, module, sets["train"], sets["val"], draw, errors))


def embed_voices(
    options: TrainDecoder, dataset: Dataset, people: list[str], voice: "Loaded"
) -> tuple["Embeddings", np.ndarray, dict[str, str]]:
    """Embed the first recording of each person who has the traits `training.voices_of`.

    Returns embeddings (n, 4096), the index in `people` of each (n,), and the reason by path for recordings that could
    not be read. Raises UserError if no person has a recording and these traits.
    """
    from speech2face.inference.cache import embed

    traits, recordings = options.training.voices_of or {}, dataset.files["speech"]
    wanted = [(i, one) for i, one in enumerate(people) if traits.items() <= dataset.traits.get(one, {}).items()]
    rows = [(i, row) for i, person in wanted if person in recordings for row in recordings.of(person)[:1]]
    if not rows:
        raise UserError(f"training.voices_of={traits}: nobody in people.csv has a recording and these traits")
    speakers = {recordings.path(row): i for i, row in rows}
    encoder = build_encoder(voice, options)
    cache = Path(options.training.cache).expanduser()
    found = embed(dataset.root, list(speakers), encoder, cache, max(options.workers, 1), "recordings")
    return found.of(list(found.digests)), np.array([speakers[path] for path in found.digests], np.int64), found.errors
