"""`pipeline=train_voice`: train a voice encoder on a dataset in the project's layout."""

import dataclasses
import logging
from functools import partial
from pathlib import Path

import numpy as np

from speech2face.config.options import TrainVoice
from speech2face.data.dataset import read_dataset
from speech2face.errors import UserError
from speech2face.pipelines.parts import build_encoder
from speech2face.pipelines.resume import check_resumed
from speech2face.pipelines.training import Job, begin, carry_out, common, learns, load, splits
from speech2face.run.record import Run

log = logging.getLogger(__name__)


def train_voice(options: TrainVoice, run: Run) -> int:
    """Train options.encoder to predict, from a recording, the embedding of a photo of the speaker.

    options.face makes the embeddings of photos. Returns 1 if a file could not be read, else 0.
    """
    by_traits = options.training.pairing == "traits"
    options, dataset, people = begin(options, run, "speech", have="speech" if by_traits else "face")
    from speech2face.data.embeddings import embed_photos
    from speech2face.decoders.base import TrainableDecoder
    from speech2face.encoders.base import EncoderNetwork
    from speech2face.inference.decoder import Decoder
    from speech2face.training.data import Clips
    from speech2face.training.loop import training_precision
    from speech2face.training.pairing import match
    from speech2face.training.sheets import draw_voices
    from speech2face.training.traits import encode_traits, learnt_traits
    from speech2face.training.trunks import cache_trunks, has_trunk
    from speech2face.training.voice import VoiceTraining

    training = options.training
    loaded = load(options, run)
    encoder, decoder = loaded["encoder"], loaded["decoder"]
    if not isinstance(encoder.network, EncoderNetwork):
        raise UserError(f"encoder={options.encoder.option}: its class is no EncoderNetwork (speech2face.encoders.base)")
    face = build_encoder(loaded["face"], options)
    losses = dict(training.losses)
    if losses["distillation"] and not getattr(face.network, "classifies", False):
        log.warning("distillation is off: face.weights=%s have no classification layer", options.face.weights)
        losses["distillation"] = 0.0
    if losses["layer"] and not isinstance(decoder.network, TrainableDecoder):
        raise UserError("training.losses.layer: the decoder's class is no TrainableDecoder (speech2face.decoders.base)")
    audio = encoder.preprocessing
    window = audio.window_seconds or 6.0
    recordings = dataset.files["speech"]
    photographed = read_dataset(options.data.faces or options.data.root, options.data.where) if by_traits else dataset
    photo_people = splits(photographed) if by_traits else people
    heads = learnt_traits(dataset, people["train"], training.traits if losses["traits"] else [])
    losses["traits"] = losses["traits"] if heads else 0.0
    if not any(losses.values()):
        raise UserError("training.losses: all are switched off")
    training = dataclasses.replace(training, losses=losses)
    options = dataclasses.replace(options, training=training)
    sets: dict[str, Clips] = {}
    errors: dict[str, str] = {}
    check_resumed(options, run, loaded, dataset, people)
    precision = training_precision(options.precision, options.trainer, options.device)
    cache, workers = Path(training.cache).expanduser(), max(options.workers, 1)
    with run.stage("read"):
        for split in people:
            speakers = [person for person in people[split] if person in recordings]
            owners = photo_people[split] if by_traits else speakers
            photos = embed_photos(photographed, owners, face, cache, workers, f"{split} photos")
            errors |= photos.errors
            with_photo = np.diff(photos.starts) > 0
            owners = [owners[i] for i in np.flatnonzero(with_photo)]
            starts = photos.starts[np.append(with_photo, True)]
            matches = match((dataset, speakers), (photographed, owners), training.match) if by_traits else None
            if matches:
                speakers, matches, starts = matches.fitting(speakers, starts)
            else:
                speakers = owners
            if not speakers:
                raise UserError(f"data.root={dataset.root}: no person of split {split} has a recording and a photo")
            if split == "val":
                first_photos = [photographed.root / photos.paths[start] for start in starts[: len(speakers)]]
            sets[split] = Clips(
                dataset.root,
                recordings,
                speakers,
                starts,
                photos.embeddings,
                audio,
                pairing=training.pairing if split == "train" else "all_to_one",
                seconds=(training.seconds or window) if split == "train" else window,
                augment=training.augment if split == "train" else 0.0,
                seed=options.seed,
                traits=encode_traits(dataset, speakers, heads),
                matches=matches,
            )
    if options.encoder.train == "head" and has_trunk(encoder.network):
        what = {"preprocessing": encoder.part.preprocessing, "code": audio.versions}
        with run.stage("hear"):
            for split, clips in sets.items():
                cache_trunks(
                    clips, encoder.network, what, training.versions, cache, options.device, precision,
                    options.batch_size, options.workers, f"{split} recordings",
                )  # fmt: skip
    frozen = {"layer": decoder.network.first_layer} if losses["layer"] else {}
    module = VoiceTraining(
        encoder.network,
        classes={trait: head.classes for trait, head in heads.items()},
        frozen=frozen | {"face": face.network},
        head_epochs=training.head_epochs,
        learns=learns(options, encoder),
        later_lr=training.later_lr,
        **common(options),
    )
    drawing = Decoder(decoder.network, options.device, options.precision)
    draw = partial(draw_voices, rows=sets["val"], photos=first_photos, decoder=drawing)
    return carry_out(options, run, Job(loaded, module, sets["train"], sets["val"], draw, errors))
