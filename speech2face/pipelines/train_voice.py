"""`pipeline=train_voice`: train a voice encoder on a dataset in the project's layout, or on several at once."""

import dataclasses
import itertools
import logging
from functools import partial
from pathlib import Path

import numpy as np

from speech2face.config.options import TrainVoice
from speech2face.data.dataset import Dataset, read_dataset
from speech2face.errors import UserError
from speech2face.pipelines.parts import build_encoder
from speech2face.pipelines.resume import check_resumed
from speech2face.pipelines.training import Job, begin, carry_out, common, learners, learns, load
from speech2face.run.record import Run

log = logging.getLogger(__name__)
Source = tuple[Dataset, dict[str, list[str]]]  # a dataset, and its people by split


def train_voice(options: TrainVoice, run: Run) -> int:
    """Train options.encoder to predict, from a recording, the embedding of a photo of the speaker.

    options.face makes the embeddings of photos. People without a photo take part in the terms traits and consistency.
    Returns 1 if a file could not be read, else 0.
    """
    options, dataset, people = begin(options, run, "speech")
    options, mixed = mix(options, run)
    from speech2face.data.embeddings import embed_photos
    from speech2face.decoders.base import TrainableDecoder
    from speech2face.encoders.base import EncoderNetwork
    from speech2face.inference.decoder import Decoder
    from speech2face.training.data import Clips
    from speech2face.training.loop import training_precision
    from speech2face.training.mixture import Mixture
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
    sources: list[Source] = [(dataset, people), *mixed.values()]
    photographed = photographs(options) if training.pairing == "traits" else {}
    heads = learnt_traits([(one, some["train"]) for one, some in sources], training.traits if losses["traits"] else [])
    losses["traits"] = losses["traits"] if heads else 0.0
    if not any(losses.values()):
        raise UserError("training.losses: all are switched off")
    training = dataclasses.replace(training, losses=losses)
    options = dataclasses.replace(options, training=training)
    errors: dict[str, str] = {}
    check_resumed(options, run, loaded, dataset, people, mixed)
    precision = training_precision(options.precision, options.trainer, options.device)
    cache, workers = Path(training.cache).expanduser(), max(options.workers, 1)
    seen: dict[str, list[dict[int, Path]]] = {"train": [], "val": []}  # of each dataset, the first photo by person

    def clips_of(source: Source, split: str) -> Clips:
        """The recordings of a split of a dataset, with the photos of the speakers."""
        one, speakers = source[0], source[1][split]
        others, owners = photographed.get(split, (one, speakers))
        photos = embed_photos(others, owners, face, cache, workers, f"{split} photos")
        errors.update({path if others is dataset else str(others.root / path): e for path, e in photos.errors.items()})
        with_photo, starts, matches = np.diff(photos.starts) > 0, photos.starts, None
        if photographed:
            pictured = [owner for owner, has in zip(owners, with_photo, strict=True) if has]
            matches = match((one, speakers), (others, pictured), training.match)
            speakers, matches = matches.fitting(speakers, starts[:-1][with_photo])
            firsts = {i: matches.draw(i, np.random.default_rng(i)) for i in range(len(speakers))}
        else:
            if not (losses["traits"] or losses["consistency"]):
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
            traits=encode_traits(one, speakers, heads),
            pairs=split == "train" and losses["consistency"] > 0,
            matches=matches,
            vocal_tract=training.vocal_tract,
        )

    with run.stage("read"):
        clips = {split: [clips_of(source, split) for source in sources] for split in people}
    for split, one in seen.items():
        if not any(one):
            raise UserError(f"data.root={dataset.root}: no person of split {split} has a recording and a photo")
    if options.encoder.train == "head" and has_trunk(encoder.network):
        what = {"preprocessing": encoder.part.preprocessing, "code": audio.versions}
        with run.stage("hear"):
            for split in clips:
                for one in clips[split]:
                    cache_trunks(
                        one, encoder.network, what, training.versions, cache, options.device, precision,
                        options.batch_size, options.workers, f"{split} recordings",
                    )  # fmt: skip
    weights = [1.0, *(options.data.mix or {}).values()]
    sets = {split: Mixture(some, weights) if mixed else some[0] for split, some in clips.items()}
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
    drawn = next(i for i, one in enumerate(seen["val"]) if one)
    draw = partial(draw_voices, rows=clips["val"][drawn], photos=seen["val"][drawn], decoder=drawing)
    return carry_out(options, run, Job(loaded, module, sets["train"], sets["val"], draw, errors))


def photographs(options: TrainVoice) -> dict[str, tuple[Dataset, list[str]]]:
    """The dataset of the photos for training.pairing=traits, and its people with a photo, by split."""
    dataset = read_dataset(options.data.faces or options.data.root, options.data.where, "data.faces")
    return {split: (dataset, people) for split, people in learners(dataset, "face").items()}


def mix(options: TrainVoice, run: Run) -> tuple[TrainVoice, dict[str, Source]]:
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
