"""`pipeline=train_face`: train a face encoder on a dataset in the project's layout."""

import dataclasses
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from speech2face.config.options import TrainFace
from speech2face.data.dataset import Dataset
from speech2face.errors import UserError
from speech2face.pipelines.resume import check_resumed
from speech2face.pipelines.training import Job, begin, carry_out, common, learns, load
from speech2face.run.record import Run

if TYPE_CHECKING:
    from speech2face.training.teacher import Teacher
    from speech2face.weights.load import Loaded

log = logging.getLogger(__name__)


def train_face(options: TrainFace, run: Run) -> int:
    """Train options.encoder to distinguish people by their photos, and to predict what options.teacher says of them.

    Returns 1 if a file could not be read, else 0.
    """
    options, dataset, people = begin(options, run, "face")
    from speech2face.training.crops import crops, normalized_faces, thumbnails
    from speech2face.training.data import Photos
    from speech2face.training.face import FaceTraining
    from speech2face.training.sheets import draw_neighbours
    from speech2face.training.traits import encode_traits, learnt_traits

    training = options.training
    if training.losses["identity"]:
        model = options.encoder.model | {"classes": len(people["train"])}
        options = dataclasses.replace(options, encoder=dataclasses.replace(options.encoder, model=model))
    loaded = load(options, run)
    encoder = loaded["encoder"]
    if training.losses["identity"]:
        check_classes(encoder, len(people["train"]))
    teacher = build_teacher(loaded["teacher"], options) if "teacher" in loaded else None
    front_end = encoder.preprocessing
    front_end = front_end.with_crop(training.crop) if training.crop else front_end
    cache, workers = Path(training.crops).expanduser(), max(options.workers, 1)
    heads = learnt_traits([(dataset, people["train"])], training.traits)
    sets: dict[str, Photos] = {}
    errors: dict[str, str] = {}
    check_resumed(options, run, loaded, dataset, people)
    with run.stage("read"):
        for split in people:
            owners = {path: person for person in people[split] for path in dataset.files["face"][person]}
            pixels, failed = crops(dataset.root, list(owners), front_end, cache, workers, f"{split} photos")
            errors |= failed
            good = [row for row, path in enumerate(owners) if path not in failed]
            number = {person: i for i, person in enumerate(people[split])}
            persons = [person for path, person in owners.items() if path not in failed]
            known = encode_traits(dataset, persons, heads)
            if teacher is not None:
                known["descriptor"] = describe(options, dataset, [one for one in owners if one not in failed], teacher)
            portraits = None
            if training.losses.get("portrait") and all(person in dataset.normalized for person in people[split]):
                pictures, landmarks, masks = normalized_faces(dataset, people[split], cache, workers, split)
                portraits = thumbnails(pictures, masks), landmarks
            sets[split] = Photos(
                pixels if len(good) == len(owners) else pixels[good],
                np.array([number[person] for person in persons]),
                known,
                portraits,
            )
    module = FaceTraining(
        encoder.network,
        classes={trait: head.classes for trait, head in heads.items()},
        margin=training.margin,
        normalize=front_end.normalize,
        portrait=sets["train"].portraits
        and tuple(np.nan_to_num(np.nanmean(one, 0), nan=0.5) for one in sets["train"].portraits),
        descriptors=sets["train"].known.get("descriptor"),
        learns=learns(options, encoder),
        **common(options),
    )
    draw = partial(draw_neighbours, rows=sets["val"], names=people["val"])
    return carry_out(options, run, Job(loaded, module, sets["train"], sets["val"], draw, errors))


def check_classes(encoder: "Loaded", people: int) -> None:
    """Raise UserError for an encoder without a classification layer, or with one for another number of people."""
    if not getattr(encoder.network, "classifies", False):
        raise UserError(
            f"encoder={encoder.part.option}: its class has no classification layer (EncoderNetwork.classify); "
            "training.losses.identity=0 does without"
        )
    if encoder.part.model["classes"] != people:
        raise UserError(f"encoder.weights={encoder.part.weights}: trained on other people; give random")


def build_teacher(loaded: "Loaded", options: TrainFace) -> "Teacher":
    """Put the teacher on the device. Raises UserError if its class has no descriptors."""
    from speech2face.training.teacher import Teacher

    if not getattr(loaded.network, "descriptor_size", 0):
        raise UserError(f"teacher={loaded.part.option}: its class has no descriptors (EncoderNetwork.descriptor)")
    description = {"descriptor": loaded.part.model, "preprocessing": loaded.part.preprocessing}
    how = {"device": options.device, "precision": "fp32", "batch_size": options.batch_size}
    return Teacher(loaded.network, loaded.preprocessing, description=description, **how)


def describe(options: TrainFace, dataset: Dataset, paths: list[str], teacher: "Teacher") -> np.ndarray:
    """The teacher's descriptors (n, width) of photos, NaN where it finds no face. Raises UserError if it finds none."""
    from speech2face.training.teacher import descriptors

    cache = Path(options.training.cache).expanduser()
    found = descriptors(dataset.root, paths, teacher, cache, max(options.workers, 1), "photos for the teacher")
    without = int(np.isnan(found[:, 0]).sum())
    if without == len(found):
        raise UserError(f"teacher={options.teacher.option}: finds a face on none of the {len(found)} photos")
    if without:
        log.warning("teacher=%s: finds no face on %d of %d photos", options.teacher.option, without, len(found))
    return found
