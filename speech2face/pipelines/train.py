"""`pipeline=train_face`, `train_decoder` and `train_voice`: each part, on any dataset in the project's layout."""

import logging
import shlex
from copy import copy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from speech2face.compose import (
    build_encoder,
    compose_config,
    config_dict,
    how_encoded,
    how_to_run,
    load_part,
    locate_parts,
)
from speech2face.dataset import Dataset
from speech2face.errors import UserError, one_line
from speech2face.pipelines.evaluate import build_face, see_faces
from speech2face.runs import Run
from speech2face.training.job import (
    Job,
    begin,
    begin_at_the_mean,
    carry_out,
    encode_traits,
    has_classes,
    learnt_traits,
    normalized_faces,
    options,
    photos,
    settled,
)
from speech2face.weights.locate import locate

if TYPE_CHECKING:
    from speech2face.evaluation.features import Features

log = logging.getLogger(__name__)


def train_face(config: DictConfig, run: Run, name: str, modality: str) -> int:
    """Train config.encoder to tell people apart by their photos. Returns 1 if a file could not be read."""
    dataset, people = begin(config, run)
    from speech2face.training.data import Photos, crops, in_small
    from speech2face.training.modules import FaceTraining
    from speech2face.training.sheets import draw_neighbours

    located = locate_parts(config, ("encoder",))
    classes = len(people["train"])
    with run.stage("load"):
        config.encoder.model.classes = classes
        preprocessing, loaded = build_encoder(config, located["encoder"], run.overrides)
        if loaded.architecture.get("classes") != classes:
            raise UserError(f"encoder.weights={located['encoder'].weights}: trained on other people; give random")
    settled(config, run, {"encoder": (located["encoder"], loaded)})
    files = {split: photos(dataset, people[split]) for split in people}
    heads = learnt_traits(dataset, people["train"], config.training.traits)
    reading, sets, errors = copy(preprocessing), {}, {}
    reading.crop = config.training.crop or preprocessing.crop
    with run.stage("read"):
        for split, rows in files.items():
            pixels, failed = crops(
                dataset.root,
                list(rows),
                reading,
                Path(config.training.crops).expanduser(),
                config.workers,
                f"{split} photos",
            )
            errors |= failed
            good = [row for row, path in enumerate(rows) if path not in failed]
            number = {person: i for i, person in enumerate(people[split])}
            owners = [person for path, person in rows.items() if path not in failed]
            portraits = None
            if config.training.losses.portrait and all(person in dataset.normalized for person in people[split]):
                portraits = normalized_faces(config, dataset, people[split], split)
                portraits = in_small(portraits[0]), portraits[1]
            sets[split] = Photos(
                pixels if len(good) == len(rows) else pixels[good],
                np.array([number[person] for person in owners]),
                encode_traits(dataset, owners, heads),
                portraits,
            )
    module = FaceTraining(
        loaded.model,
        classes={trait: head.classes for trait, head in heads.items()},
        margin=config.training.margin,
        mean=list(preprocessing.mean),
        std=list(preprocessing.std),
        portrait=sets["train"].portraits and tuple(one.mean(0) for one in sets["train"].portraits),
        **options(config),
    )
    draw = partial(draw_neighbours, rows=sets["val"])
    front_end = config_dict(config.preprocessing)
    return carry_out(config, run, Job("encoder", loaded, module, sets["train"], sets["val"], draw, errors, front_end))


def train_decoder(config: DictConfig, run: Run, name: str, modality: str) -> int:
    """Train config.decoder to draw the normalized faces that config.encoder's features of photos belong to."""
    dataset, people = begin(config, run)
    import torch
    import torch.nn.functional as F

    from speech2face.evaluation.features import of_photos
    from speech2face.reconstructor import Reconstructor
    from speech2face.training.data import Portraits
    from speech2face.training.modules import DecoderTraining
    from speech2face.training.sheets import draw_portraits

    located = locate_parts(config)
    with run.stage("load"):
        preprocessing, face = build_encoder(config, located["encoder"], run.overrides)
        loaded = load_part(config, "decoder", located["decoder"], run.overrides)
    settled(config, run, {"encoder": (located["encoder"], face), "decoder": (located["decoder"], loaded)})
    seeing = Reconstructor(preprocessing, face.model, torch.nn.Identity(), **how_to_run(config))
    cache = Path(config.training.cache).expanduser()
    sets, errors = {}, {}
    with run.stage("read"):
        for split in people:
            owners = [person for person in people[split] if person in dataset.normalized]
            if not owners:
                raise UserError(
                    f"data.root={dataset.root}: no normalized face of split {split} (prepared/normalized.parquet)"
                )
            how = (seeing, how_encoded(config), cache, config.workers, f"{split} photos")
            features, starts, _, failed = of_photos(dataset, owners, *how)
            errors |= failed
            pictures, landmarks = normalized_faces(config, dataset, owners, split)
            features, which = [features], [np.repeat(np.arange(len(owners)), np.diff(starts))]
            for voice in config.training.voices if split == "train" else ():
                heard, speakers, failed = hear(config, dataset, owners, voice, dict(config.training.voices_of or {}))
                errors |= failed
                features.append(heard)
                which.append(speakers)
            sets[split] = Portraits(features, pictures, landmarks, which)
    mean, std = (torch.tensor(list(values)).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    if loaded.untrained:
        begin_at_the_mean(loaded.model, sets["train"].landmarks)

    def see(picture: torch.Tensor) -> torch.Tensor:
        picture = F.interpolate(picture, (preprocessing.size,) * 2, mode="bilinear", antialias=True)
        picture = picture.flip(1) if preprocessing.channel_order == "bgr" else picture
        return (picture * preprocessing.scale - mean.to(picture.device)) / std.to(picture.device)

    module = DecoderTraining(loaded.model, see=see, frozen={"face": face.model}, **options(config))
    draw = partial(draw_portraits, rows=sets["val"])
    return carry_out(config, run, Job("decoder", loaded, module, sets["train"], sets["val"], draw, errors))


def hear(
    config: DictConfig, dataset: Dataset, people: list[str], voice: str, traits: dict[str, str]
) -> tuple["Features", np.ndarray, dict]:
    """What a voice encoder, given as options of pipeline=speech, makes of the first recording of who has these traits.

    Returns its features (n, 4096); (n,) whose they are, as numbers of `people`; and by path what could not be read.
    """
    import torch

    from speech2face.evaluation.features import encode
    from speech2face.reconstructor import Reconstructor

    overrides = ["pipeline=speech", *shlex.split(voice)]
    try:
        speech = compose_config(overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"{voice}: {one_line(error)}") from None
    located = locate("encoder", speech.choices.encoder, speech.encoder.weights)
    preprocessing, loaded = build_encoder(speech, located, overrides)
    listener = Reconstructor(preprocessing, loaded.model, torch.nn.Identity(), **how_to_run(config))
    recordings = dataset.files["speech"]
    wanted = [(i, one) for i, one in enumerate(people) if traits.items() <= dataset.traits.get(one, {}).items()]
    rows = [(i, row) for i, person in wanted if person in recordings for row in recordings.of(person)[:1]]
    if not rows:
        raise UserError(f"training.voices_of={traits}: nobody in people.csv has a recording and these traits")
    whose = {recordings.path(row): i for i, row in rows}
    cache = Path(config.training.cache).expanduser()
    found = encode(dataset.root, list(whose), listener, how_encoded(speech), cache, config.workers, "recordings")
    return found.of(list(found.digests)), np.array([whose[path] for path in found.digests], np.int64), found.errors


def train_voice(config: DictConfig, run: Run, name: str, modality: str) -> int:
    """Train config.encoder to hear what config.face sees in the photos of who speaks."""
    dataset, people = begin(config, run)
    from speech2face.evaluation.features import of_photos
    from speech2face.reconstructor import Reconstructor
    from speech2face.training.data import PAIRINGS, Clips
    from speech2face.training.modules import VoiceTraining
    from speech2face.training.sheets import draw_voices

    training = config.training
    if training.pairing not in PAIRINGS:
        raise UserError(f"training.pairing={training.pairing}: must be one of {', '.join(PAIRINGS)}")
    face_config = see_faces(config, run.overrides)
    located = locate_parts(config) | {"face encoder": locate("face", config.face.encoder, face_config.encoder.weights)}
    with run.stage("load"):
        preprocessing, loaded = build_encoder(config, located["encoder"], run.overrides)
        face_preprocessing, face = build_face(config, face_config, located["face encoder"])
        decoder = load_part(config, "decoder", located["decoder"], run.overrides)
    if training.losses.distillation and not has_classes(face.model):
        log.warning("distillation is off: face.weights=%s have no classification layer", config.face.weights)
        training.losses.distillation = 0.0
    parts = {"encoder": loaded, "face encoder": face, "decoder": decoder}
    settled(config, run, {part: (located[part], one) for part, one in parts.items()})
    seeing = Reconstructor(face_preprocessing, face.model, decoder.model, **how_to_run(config))
    cache = Path(training.cache).expanduser()
    seconds = training.seconds or preprocessing.window_seconds or 6.0
    sets, errors = {}, {}
    recordings = dataset.files["speech"]
    heads = learnt_traits(dataset, people["train"], training.traits if training.losses.traits else [])
    training.losses.traits = training.losses.traits if heads else 0.0
    with run.stage("read"):
        for split in people:
            heard = [person for person in people[split] if person in recordings]
            how = (seeing, how_encoded(face_config), cache, config.workers, f"{split} photos")
            faces, starts, paths, failed = of_photos(dataset, heard, *how)
            errors |= failed
            has = np.diff(starts) > 0
            heard, starts = [heard[i] for i in np.flatnonzero(has)], starts[np.append(has, True)]
            if not heard:
                raise UserError(f"data.root={dataset.root}: nobody of split {split} has a recording and a photo")
            if split == "val":
                seen = [dataset.root / paths[start] for start in starts[:-1]]
            sets[split] = Clips(
                dataset.root,
                recordings,
                heard,
                starts,
                faces,
                preprocessing,
                pairing=training.pairing if split == "train" else "all_to_one",
                seconds=seconds if split == "train" else preprocessing.window_seconds or seconds,
                augment=float(training.augment) if split == "train" else 0.0,
                seed=config.seed,
                traits=encode_traits(dataset, heard, heads),
            )
    frozen = {"layer": decoder.model.trunk[0], "face": face.model}
    recipe = {"head_epochs": training.head_epochs, "head": tuple(training.head), "later_lr": training.later_lr}
    classes = {trait: head.classes for trait, head in heads.items()}
    module = VoiceTraining(loaded.model, classes=classes, frozen=frozen, **options(config), **recipe)
    draw = partial(draw_voices, rows=sets["val"], photos=seen, seeing=seeing)
    front_end = config_dict(config.preprocessing)
    return carry_out(config, run, Job("encoder", loaded, module, sets["train"], sets["val"], draw, errors, front_end))
