"""The evaluation of one encoder: several listeners, measured alike on the same people.

Listeners: the encoder itself; the ideal listener, who knows the voice's true parameters and which faces go with them;
and the one who knows the very traits that voice and face share. The last two exist for simulated people only.
"""

import logging
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from speech2face.dataset import Dataset
from speech2face.evaluation import figures
from speech2face.evaluation.features import Features, batches
from speech2face.evaluation.figures import Measure, Measured, read_probes
from speech2face.evaluation.probes import ideal_listener, predict
from speech2face.evaluation.retrieval import ranks
from speech2face.preprocessing.image import open_image, points_in_crop
from speech2face.reconstructor import Reconstructor, to_pixels
from speech2face.talkers.traits import SHARED, VOICE

log = logging.getLogger(__name__)
TRUTH = (*SHARED, *VOICE)
SIZE = 224
FITTED_PEOPLE = 20  # with fewer there is nothing to fit
DECODED = 16  # faces at a time


@dataclass
class Material:
    """What is known of the people, encoded.

    people (m,): names; photos: the path of each one's; gallery (m, 4096): their face features. queries: paths, with
    features (n, 4096) and rows (n,) of the people. train: the person of each row of train_features.
    """

    dataset: Dataset
    people: list[str]
    photos: list[str]
    gallery: Features
    queries: list[str]
    features: Features
    rows: np.ndarray
    train: list[str]
    train_features: Features

    def traits(self, columns: tuple[str, ...], people: list[str]) -> dict[str, np.ndarray]:
        """Columns of people.csv for some people: see Dataset.columns."""
        return self.dataset.columns(columns, people)


@dataclass
class Faces:
    """Faces of features: images (n, 224, 224, 3) uint8, landmarks (n, 72, 2), and features (n, 4096) seen in them."""

    images: np.ndarray
    landmarks: np.ndarray
    features: np.ndarray


@dataclass
class Outcome:
    """A listener's figures, and what they were made from: ranks by metric, what probes read by reading and trait."""

    figures: dict[str, Measured]
    ranks: dict[str, np.ndarray]
    read: dict[str, dict[str, np.ndarray]]
    faces: Faces


@dataclass
class Evaluation:
    """Outcomes by listener ("encoder", "ideal", "traits"), for all queries, and pictures for those in `drawn` (k,).

    truth: traits of the queries' people. photos (k, 224, 224, 3) uint8: the originals; of_photo: what is drawn of them.
    """

    outcomes: dict[str, Outcome]
    truth: dict[str, np.ndarray]
    drawn: np.ndarray
    photos: np.ndarray
    of_photo: Faces


def evaluate(
    material: Material, listener: Reconstructor, face: Reconstructor, options: dict[str, Any], seed: int
) -> Evaluation:
    """Measure every listener.

    listener, face: how queries and photos are encoded. options: conf/pipeline/evaluate.yaml.
    """
    rows, people = material.rows, np.array(material.people)
    measure = Measure(people[rows], options["samples"], seed)
    traits = material.traits(tuple(options["attributes"]), material.train)
    probes = figures.fit_probes(material.train_features, material.train, traits)
    if unread := [name for name in options["attributes"] if name not in probes]:
        log.warning("no attributes %s: people.csv has too few training people who have them", ", ".join(unread))
    truth = material.traits(tuple(probes), list(people[rows]))
    drawn = np.unique(rows, return_index=True)[1]  # one query of everybody, or of some
    drawn = np.sort(np.random.default_rng(seed).permutation(drawn)[: options["pictures"]])
    of_photo = decode(material.gallery[rows[drawn]], listener, face, "photos")
    outcomes = {}
    for name, features in ({"encoder": material.features} | fit_listeners(material, seed)).items():
        faces = decode(features[drawn], listener, face, name)
        found = figures.find_ranks(features, material.gallery, rows, seed)
        read = {"feature": read_probes(probes, features), "face": read_probes(probes, faces.features)}
        measured = figures.distances(measure, features, material.gallery, rows)
        measured |= figures.retrieval(measure, found, len(people), options["gallery_sizes"])
        measured |= figures.attributes(measure, "feature", read["feature"], truth)
        shown = {trait: values[drawn] for trait, values in truth.items()}
        measured |= figures.attributes(measure.of(drawn), "face", read["face"], shown)
        measured |= figures.craniofacial(measure.of(drawn), faces.landmarks, of_photo.landmarks)
        outcomes[name] = Outcome(measured, found, read, faces)
    own = outcomes["encoder"].figures
    own |= figures.consistency(measure, material.features)
    everybody = Measure(people, options["samples"], seed)
    of_gallery = material.traits(tuple(probes), material.people)
    own |= figures.attributes(everybody, "photo", read_probes(probes, material.gallery), of_gallery)
    photos, points = originals(material, rows[drawn], face)
    kept = ranks(of_photo.features, material.gallery, rows[drawn], seed=seed)
    wanted, points = normalized(material, rows[drawn]) or (photos, points)
    own |= figures.face_to_face(measure.of(drawn), of_photo.images, wanted, kept, len(people))
    known = np.flatnonzero(np.isfinite(points).all((1, 2)))
    if len(known):
        own |= figures.landmark_figures(measure.of(drawn[known]), of_photo.landmarks[known], points[known])
    return Evaluation(outcomes, truth, drawn, photos, of_photo)


def fit_listeners(material: Material, seed: int) -> dict[str, Features]:
    """(n, 4096) features for every query of those listeners who know more than an encoder can; {} for real people."""
    known = [person for person in material.train if all(material.dataset.traits[person].get(one) for one in TRUTH)]
    if len(set(known)) < FITTED_PEOPLE:
        return {}
    people, person = np.unique(material.train, return_inverse=True)
    features = np.zeros((len(people), material.train_features.shape[1]), np.float32)
    np.add.at(features, person, np.asarray(material.train_features))
    features /= np.bincount(person)[:, None]
    found = {}
    asked, query = np.unique(material.rows, return_inverse=True)
    for name, causes in (("ideal", VOICE), ("traits", SHARED)):
        causes = _matrix(material.traits(causes, [*people, *(material.people[row] for row in asked)]))
        fit = np.flatnonzero(np.isfinite(causes[: len(people)]).all(1))
        model = ideal_listener(causes[fit], features[fit], seed)
        causes = np.where(np.isfinite(causes), causes, np.nanmean(causes, axis=0))  # of whom nothing is known: the mean
        found[name] = Features(predict(model, causes[len(people) :]).astype(np.float32), query)
    return found


def _matrix(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Numbers as they are, text as one column for each value."""
    parts = []
    for values in columns.values():
        parts.append(values[:, None] == np.unique(values) if values.dtype.kind == "U" else values[:, None])
    return np.concatenate(parts, axis=1, dtype=np.float64)


def decode(features: np.ndarray, listener: Reconstructor, face: Reconstructor, name: str) -> Faces:
    """Faces of (n, 4096) features, as the decoder draws and as the face encoder then sees them."""
    images, landmarks, seen = [], [], []
    preprocessing = copy(face.preprocessing)
    preprocessing.crop = "none"  # the decoder draws what the face encoder is to see
    with tqdm(total=len(features), desc=f"faces of {name}", unit="face", delay=2) as bar:
        for batch in batches(features, DECODED):
            points, texture = listener.decode(torch.from_numpy(np.array(batch, np.float32)))
            drawn = to_pixels(texture).cpu().numpy()
            seen.append(face.encode([preprocessing(image).features for image in drawn]).cpu().numpy())
            images.append(drawn)
            landmarks.append(points.cpu().numpy())
            bar.update(len(batch))
    return Faces(np.concatenate(images), np.concatenate(landmarks), np.concatenate(seen))


def normalized(material: Material, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Normalized faces of some people, as a decoder is to draw them, and their landmarks; None where one has none.

    (k, 224, 224, 3) uint8; (k, 72, 2) in pixels.
    """
    dataset = material.dataset
    paths = [dataset.normalized.get(material.people[row]) for row in rows]
    if None in paths:
        return None
    pictures = [open_image(dataset.root / path).resize((SIZE, SIZE)) for path in paths]
    return np.stack(list(map(np.asarray, pictures))), np.stack([dataset.landmarks[path] for path in paths])


def originals(material: Material, rows: np.ndarray, face: Reconstructor) -> tuple[np.ndarray, np.ndarray]:
    """Photos of some people as the face encoder sees them, (k, 224, 224, 3) uint8, and landmarks (k, 72, 2) in them.

    Landmarks are NaN where the dataset has none.
    """
    photos, landmarks = [], np.full((len(rows), 72, 2), np.nan)
    for i, row in enumerate(rows):
        prepared = face.preprocessing(material.dataset.root / material.photos[row])
        photos.append(np.asarray(Image.fromarray(prepared.preview["crop"]).resize((SIZE, SIZE))))
        points = material.dataset.landmarks.get(material.photos[row])
        if points is not None:
            box = [int(edge) for edge in prepared.measurements["crop"].split()]
            landmarks[i] = points_in_crop(points, box, SIZE)
    return np.stack(photos), landmarks
