"""`pipeline=train_face`: train a face encoder on a dataset in the project's layout."""

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np

from speech2face.config.options import TrainFace
from speech2face.errors import UserError
from speech2face.pipelines.resume import check_resumed
from speech2face.pipelines.training import Job, begin, carry_out, common, load, normalized_faces
from speech2face.run.record import Run


def train_face(options: TrainFace, run: Run) -> int:
    """Train options.encoder to distinguish people by their photos. Returns 1 if a file could not be read, else 0."""
    options, dataset, people = begin(options, run, "face")
    from speech2face.training.crops import crops, thumbnails
    from speech2face.training.data import Photos
    from speech2face.training.face import FaceTraining
    from speech2face.training.sheets import draw_neighbours
    from speech2face.training.traits import encode_traits, learnt_traits

    training = options.training
    model = options.encoder.model | {"classes": len(people["train"])}
    options = dataclasses.replace(options, encoder=dataclasses.replace(options.encoder, model=model))
    loaded = load(options, run)
    encoder = loaded["encoder"]
    if not getattr(encoder.network, "classifies", False):
        raise UserError(
            f"encoder={encoder.part.option}: its class has no classification layer (EncoderNetwork.classify)"
        )
    if encoder.part.model["classes"] != len(people["train"]):
        raise UserError(f"encoder.weights={encoder.part.weights}: trained on other people; give random")
    front_end = encoder.preprocessing
    front_end = front_end.with_crop(training.crop) if training.crop else front_end
    heads = learnt_traits(dataset, people["train"], training.traits)
    sets: dict[str, Photos] = {}
    errors: dict[str, str] = {}
    check_resumed(options, run, loaded, dataset, people)
    with run.stage("read"):
        for split in people:
            owners = {path: person for person in people[split] for path in dataset.files["face"][person]}
            cache = Path(training.crops).expanduser()
            pixels, failed = crops(
                dataset.root, list(owners), front_end, cache, max(options.workers, 1), f"{split} photos"
            )
            errors |= failed
            good = [row for row, path in enumerate(owners) if path not in failed]
            number = {person: i for i, person in enumerate(people[split])}
            persons = [person for path, person in owners.items() if path not in failed]
            portraits = None
            if training.losses.get("portrait") and all(person in dataset.normalized for person in people[split]):
                pictures, landmarks, masks = normalized_faces(options, dataset, people[split], split)
                portraits = thumbnails(pictures, masks), landmarks
            sets[split] = Photos(
                pixels if len(good) == len(owners) else pixels[good],
                np.array([number[person] for person in persons]),
                encode_traits(dataset, persons, heads),
                portraits,
            )
    module = FaceTraining(
        encoder.network,
        classes={trait: head.classes for trait, head in heads.items()},
        margin=training.margin,
        normalize=front_end.normalize,
        portrait=sets["train"].portraits
        and tuple(np.nan_to_num(np.nanmean(one, 0), nan=0.5) for one in sets["train"].portraits),
        **common(options),
    )
    draw = partial(draw_neighbours, rows=sets["val"])
    return carry_out(options, run, Job("encoder", loaded, module, sets["train"], sets["val"], draw, errors))
