"""Evaluation of an encoder beside other observers on the same people.

An observer predicts the embedding of a person's face from a query, that is, from a recording or another photo. The
observer "encoder" is the encoder under evaluation. Simulated people have two more: "ideal", a regression from the true
parameters of the voice, and "traits", a regression from the traits that voice and face share.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from PIL import Image
from tqdm import tqdm

from speech2face.data.dataset import Dataset
from speech2face.evaluation import judging, metrics
from speech2face.evaluation.association import GROUPS, associate
from speech2face.evaluation.estimates import without_people
from speech2face.evaluation.images import alike
from speech2face.evaluation.metrics import Estimator, Metric, read_probes
from speech2face.evaluation.observers import fit_observers
from speech2face.evaluation.prior import examine
from speech2face.evaluation.realism import as_judged, realism
from speech2face.evaluation.retrieval import ranks
from speech2face.evaluation.targets import SIZE, framed_alike
from speech2face.inference.cache import Embeddings, batches
from speech2face.inference.decoder import Decoder, Face, Faces
from speech2face.inference.encoder import Encoder
from speech2face.inference.estimates import Estimates
from speech2face.judges.base import Judge
from speech2face.preprocessing.faces import points_in_crop

log = logging.getLogger(__name__)
DECODED = 16  # faces per batch of the decoder
MOST_TESTED = 1000  # voices that a prior is tested on, one per person


class Options(Protocol):
    """Options of `evaluate`.

    samples: bootstrap resamples. attributes: columns of people.csv that probes are fitted to. pictures: people whose
    faces are drawn, at most. gallery_sizes: sizes of random galleries besides the whole one. clips: most photographs of
    a person that judges see. draws: samples of the prior for each voice.
    """

    samples: int
    attributes: list[str]
    pictures: int
    gallery_sizes: list[int]
    clips: int
    draws: int


@dataclass
class Material:
    """The people of an evaluation and their embeddings.

    people: names of the m people of the gallery. photos: (m,) the path of one photo of each. gallery: (m, 4096)
    embeddings of these photos. queries: (n,) paths. embeddings: (n, 4096) of the queries by the encoder. rows: (n,) the
    gallery row of each query's person. train: (t,) the person of each training photo. train_embeddings: (t, 4096) of
    these photos. digests: SHA-256 by path. Paths are relative to dataset.root. modality: of the queries, "speech" or
    "face".
    """

    dataset: Dataset
    people: list[str]
    photos: list[str]
    gallery: Embeddings
    queries: list[str]
    embeddings: Embeddings
    rows: np.ndarray
    train: list[str]
    train_embeddings: Embeddings
    digests: dict[str, str] = field(default_factory=dict)
    modality: str = "speech"

    def traits(self, columns: tuple[str, ...], people: list[str]) -> dict[str, np.ndarray]:
        """Columns of people.csv for some people: see Dataset.columns."""
        return self.dataset.columns(columns, people)


@dataclass
class Drawn:
    """Faces drawn from k embeddings.

    images: (k, 224, 224, 3) uint8 RGB. landmarks: (k, 72, 2) x, y in pixels of these images; None if the decoder has
    none. embeddings: (k, 4096) float32, what the face encoder makes of the drawn images.
    """

    images: np.ndarray
    landmarks: np.ndarray | None
    embeddings: np.ndarray


@dataclass
class Outcome:
    """Results of one observer.

    metrics: by name. ranks: (n,) of the true face, by distance. read: predictions (n,) of the probes by trait, from
    "embedding", the observer's embeddings, and from "face", those of the drawn faces. faces: of the pictured queries.
    """

    metrics: dict[str, Metric]
    ranks: dict[str, np.ndarray]
    read: dict[str, dict[str, np.ndarray]]
    faces: Drawn


@dataclass
class Evaluation:
    """Results of all observers.

    outcomes: by observer ("encoder", "ideal", "traits"). truth: (n,) true values of the queries' people, by trait.
    pictured: (k,) numbers of the queries whose faces are drawn, one per person. from_photos: faces drawn from the
    embeddings of these people's photos. observer: the record of the ideal observer (observers.fit_observers). notes:
    sentences on what is left out or to be taken with care. judges: by name, their part in training.
    """

    outcomes: dict[str, Outcome]
    truth: dict[str, np.ndarray]
    pictured: np.ndarray
    from_photos: Drawn
    observer: dict[str, float | str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    judges: dict[str, str] = field(default_factory=dict)


def evaluate(
    material: Material,
    face: Encoder,
    decoder: Decoder,
    options: Options,
    seed: int,
    estimates: Estimates | None = None,
    judges: dict[str, Judge] | None = None,
) -> Evaluation:
    """Compute the metrics of every observer.

    `material` has the embeddings of the encoder under evaluation. face: encoder of photos and of drawn faces. decoder:
    draws the faces; if it gives no landmarks, what depends on them is left out, with a warning. seed: of everything
    random. estimates: of sex and age, from the queries' embeddings; they are used for what has no probe. judges: look
    at the drawn faces, by name.
    """
    notes: list[str] = []
    rows, people = material.rows, np.array(material.people)
    estimator = Estimator(people[rows], options.samples, seed)
    traits = material.traits(tuple(options.attributes), material.train)
    probes = metrics.fit_probes(material.train_embeddings, material.train, traits)
    estimated = without_people(estimates, material, probes)
    if missing := [name for name in options.attributes if name not in probes]:
        told = f"; the weights' own estimates tell {' and '.join(estimated)}" if estimated else ""
        names = ", ".join(missing)
        notes.append(f"no probes of {names}: people.csv has these traits for too few training people{told}")
    truth = material.traits((*probes, *estimated), list(people[rows]))
    groups = material.traits(GROUPS, material.people)
    first = np.unique(rows, return_index=True)[1]
    pictured = np.sort(np.random.default_rng(seed).permutation(first)[: options.pictures])
    pictured_truth = {trait: values[pictured] for trait, values in truth.items()}
    of_pictured = estimator.of(pictured)
    from_photos = draw(material.gallery[rows[pictured]], decoder, face, "photos")
    if from_photos.landmarks is None:
        notes.append("no craniofacial ratios and no landmark error: the decoder gives no landmarks")
    outcomes = {}
    observers, record = fit_observers(
        material.traits, material.train, material.train_embeddings, people[rows].tolist(), seed
    )
    for name, embeddings in ({"encoder": material.embeddings} | observers).items():
        faces = draw(embeddings[pictured], decoder, face, name)
        found = metrics.find_ranks(embeddings, material.gallery, rows, seed)
        read = {"embedding": read_probes(probes, embeddings), "face": read_probes(probes, faces.embeddings)}
        own = metrics.distances(estimator, embeddings, material.gallery, rows)
        own |= metrics.retrieval(estimator, found, len(people), options.gallery_sizes)
        if material.modality == "speech":
            own |= associate(embeddings, material.gallery, rows, people, groups, options.samples, seed)
        own |= metrics.attributes(estimator, "embedding", read["embedding"], truth)
        of_faces = metrics.attributes(of_pictured, "face", read["face"], pictured_truth)
        if faces.landmarks is not None:
            of_faces |= metrics.craniofacial(of_pictured, faces.landmarks, from_photos.landmarks)
        if alike(faces.images):
            of_faces = {name: one for name, one in of_faces.items() if name.endswith(("/accuracy", "/error"))}
            if name == "encoder":
                notes.append("all drawn faces look alike, so that no correlation of them is given")
        own |= of_faces
        outcomes[name] = Outcome(own, found, read, faces)
    own = outcomes["encoder"].metrics
    own |= metrics.consistency(estimator, material.embeddings)
    of_photos, photo_truth = Estimator(people, options.samples, seed), material.traits(tuple(probes), material.people)
    own |= metrics.attributes(of_photos, "photo", read_probes(probes, material.gallery), photo_truth)
    own |= metrics.attributes(estimator, "estimate", estimated, truth)
    outcomes["encoder"].read["estimate"] = estimated
    shown = rows[pictured]
    found = ranks(from_photos.embeddings, material.gallery, rows[pictured], seed=seed)
    own |= metrics.identity(of_pictured, found, len(people))
    pairs = framed_alike(material.dataset, people[shown], [material.photos[row] for row in shown], from_photos)
    if len(pairs.rows) < 2:
        notes.append("drawn and true faces are not compared: too few landmarks are known that would frame them alike")
    else:
        of_pairs = of_pictured.of(pairs.rows)
        own |= metrics.face_to_face(of_pairs, pairs.drawn, pairs.true, pairs.known)
        if pairs.landmarks is not None:
            own |= metrics.landmark_metrics(of_pairs, *pairs.landmarks)
    if judges:
        own |= judging.ask(judges, material, decoder, pictured, from_photos.images, of_pictured, options)
    if decoder.prior is not None:
        tested = np.sort(np.random.default_rng(seed).permutation(first)[:MOST_TESTED])
        of_prior, samples = examine(material, tested, decoder.prior, probes, estimator.of(tested), options.draws)
        own |= of_prior
        if len(pairs.rows) > 1:
            drawn = draw(samples[np.isin(tested, pictured)][pairs.rows], decoder.detailed, face, "samples").images
            own |= realism(of_pictured.of(pairs.rows), drawn, pairs.true) | as_judged(judges or {}, drawn, pairs.true)
    if "refused" in record:
        notes.append(f"no ideal observer: {record['refused']}")
    for note in notes:
        log.warning(note)
    return Evaluation(outcomes, truth, pictured, from_photos, record, notes)


def draw(
    embeddings: np.ndarray, decoder: Callable[[np.ndarray], Sequence[Faces | Face]], face: Encoder, name: str
) -> Drawn:
    """Faces that the decoder draws from (k, 4096) embeddings, and their embeddings by the face encoder, not cropped."""
    images, landmarks, encoded = [], [], []
    front_end = face.preprocessing.with_crop("none")
    with tqdm(total=len(embeddings), desc=f"faces of {name}", unit="face", delay=2) as bar:
        for batch in batches(embeddings, DECODED):
            faces = decoder(np.stack(batch))
            encoded.append(face.encode([front_end(one.image).features for one in faces]).cpu().numpy())
            for image, points in map(_resized, faces):
                images.append(image)
                landmarks.append(points)
            bar.update(len(batch))
    found = None if any(points is None for points in landmarks) else np.stack(landmarks)
    return Drawn(np.stack(images), found, np.concatenate(encoded))


def _resized(face: Faces | Face) -> tuple[np.ndarray, np.ndarray | None]:
    """The most typical image, (224, 224, 3) uint8, and its landmarks (72, 2) in pixels of it or None."""
    height, width, _ = face.image.shape
    if (height, width) == (SIZE, SIZE):
        return face.image, face.landmarks
    image = Image.fromarray(face.image).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    points = None if face.landmarks is None else points_in_crop(face.landmarks, (0, 0, width, height), SIZE)
    return np.asarray(image), points
