"""What judges say of drawn faces, beside the photographs of the same people.

Four views of a person are looked at: "photograph"; "from_photo", the face drawn from the photograph's embedding;
"clip", the face drawn from one query; and "person", the mean embedding by the judge of the faces drawn from all of the
person's queries (SF2F: Bai et al., ACM MM 2022, "average_facenet_embedding" in its program).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy import stats
from scipy.special import xlogy
from tqdm import tqdm

from speech2face.evaluation import metrics
from speech2face.evaluation.metrics import Estimator, Metric
from speech2face.evaluation.retrieval import ranks
from speech2face.inference.cache import batches
from speech2face.inference.decoder import Decoder
from speech2face.judges.base import Judge, Portrait, find_face
from speech2face.preprocessing.photo import open_image

if TYPE_CHECKING:
    from speech2face.evaluation.evaluation import Material

BATCH = 16  # faces that are drawn together
PARTS = 5  # of the pictures, for the VGGFace Score
FEWEST = 20  # pictures for a VGGFace Score


def ask(
    judges: dict[str, Judge],
    material: "Material",
    decoder: Decoder,
    pictured: np.ndarray,
    from_photos: np.ndarray,
    people: Estimator,
    gallery_sizes: Sequence[int],
) -> dict[str, Metric]:
    """What judges say of the people whose faces are drawn, of all their queries.

    pictured: (k,) one query of each of these people. from_photos: (k, height, width, 3) uint8, the faces drawn from the
    embeddings of their photos. people: estimator of k rows.
    """
    rows = material.rows[pictured]
    queries = np.flatnonzero(np.isin(material.rows, rows))
    order = np.argsort(rows)
    clips = order[np.searchsorted(rows[order], material.rows[queries])]
    faces = [face.image for some in batches(material.embeddings[queries], BATCH) for face in decoder(np.stack(some))]
    pictures = {
        "photograph": [open_image(material.dataset.root / material.photos[row]) for row in rows],
        "from_photo": [Image.fromarray(face) for face in from_photos],
        "clip": [Image.fromarray(face) for face in faces],
    }
    traits = material.traits(("sex", "age"), [material.people[row] for row in rows])
    return judge(judges, pictures, clips, people, traits, gallery_sizes)


def judge(
    judges: dict[str, Judge],
    pictures: dict[str, Sequence[Image.Image]],
    clips: np.ndarray,
    people: Estimator,
    traits: dict[str, np.ndarray],
    gallery_sizes: Sequence[int],
) -> dict[str, Metric]:
    """Metrics of all judges: judge/NAME/VIEW/..., and judge/detected/VIEW, the share with a detected face.

    pictures: RGB, by view: "photograph" and "from_photo", one for each of k people, and "clip", one for each of n
    queries. clips: (n,) the person of each query, 0..k - 1. people: estimator of k rows, one per person. traits: (k,)
    what is known of the people.
    """
    portraits = {view: find_faces(images, view) for view, images in pictures.items()}
    of = {"photograph": people, "from_photo": people, "person": people, "clip": people.of(clips)}
    who = {view: np.arange(len(people.people)) if of[view] is people else clips for view in of}
    found = {
        f"judge/detected/{view}": of[view].share(np.array([one.detected for one in seen], float), np.nan)
        for view, seen in portraits.items()
    }
    for name, one in judges.items():
        opinions = {view: one(seen) for view, seen in portraits.items()}
        embeddings = {view: said.embeddings for view, said in opinions.items() if said.embeddings is not None}
        if embeddings:
            embeddings["person"] = averaged(embeddings["clip"], clips)
        for view in of:
            prefix = f"judge/{name}/{view}"
            if view in embeddings and view != "photograph":
                found |= _named(
                    prefix, likeness(of[view], embeddings[view], embeddings["photograph"], who[view], gallery_sizes)
                )
            said = opinions.get(view)
            if said and said.probabilities is not None and len(said.probabilities) >= FEWEST:
                found[f"{prefix}/vggface_score"] = vggface_score(said.probabilities, people.seed)
            if said and said.traits:
                truth = {trait: values[who[view]] for trait, values in traits.items() if trait in said.traits}
                read = {trait: said.traits[trait] for trait in truth}
                found |= metrics.attributes(of[view], prefix, read, truth)
    return found


def find_faces(images: Sequence[Image.Image], name: str) -> list[Portrait]:
    """Find the face on each picture. name: of the pictures, for the progress bar."""
    return [find_face(image) for image in tqdm(images, desc=f"judges: {name}", unit="picture", delay=2)]


def averaged(embeddings: np.ndarray, clips: np.ndarray) -> np.ndarray:
    """Mean embedding (k, d) of each person. clips: (n,) the person of each of (n, d) embeddings, 0..k - 1."""
    sums = np.zeros((clips.max() + 1, embeddings.shape[1]))
    np.add.at(sums, clips, embeddings)
    return sums / np.bincount(clips)[:, None]


def likeness(
    estimator: Estimator, drawn: np.ndarray, photographs: np.ndarray, truth: np.ndarray, gallery_sizes: Sequence[int]
) -> dict[str, Metric]:
    """Cosine similarity, L1 and L2 distance to the person's photograph, and recall of it by the cosine.

    drawn: (n, d) and photographs: (k, d), embeddings by a judge. truth: (n,) the photograph of each drawn face.
    gallery_sizes: of random galleries besides the one of all k photographs.
    """
    apart = metrics.distances(estimator, drawn, photographs, truth)
    cosine = apart.pop("distance/cosine")
    near = Metric(1 - cosine.value, 1 - cosine.high, 1 - cosine.low, 1 - cosine.chance)
    rank = {"cosine": ranks(drawn, photographs, truth, seed=estimator.seed)}
    found = metrics.retrieval(estimator, rank, len(photographs), gallery_sizes)
    return {"similarity/cosine": near} | apart | found


def vggface_score(probabilities: np.ndarray, seed: int = 0) -> Metric:
    """The VGGFace Score of SF2F (Bai et al., ACM MM 2022): an inception score by a classifier of people.

    probabilities: (n, c) of the classes, for n pictures. The score is exp(mean KL(p || mean p)), the mean over five
    random parts of the pictures; 1: all pictures look alike; at most c. It grows with n / 5. The interval is Student's
    t over the parts, at least 1.
    """
    order = np.random.default_rng(seed).permutation(len(probabilities))
    scores = []
    for rows in np.array_split(order, PARTS):
        p = probabilities[rows].astype(np.float64)
        middle = p.mean(0)
        scores.append(np.exp(xlogy(p, p).sum(1).mean() - xlogy(middle, middle).sum()))
    value, error = float(np.mean(scores)), stats.sem(scores)
    margin = float(stats.t.ppf(0.975, PARTS - 1) * error)
    return Metric(value, max(1.0, value - margin), value + margin, 1.0)


def _named(prefix: str, found: dict[str, Metric]) -> dict[str, Metric]:
    return {f"{prefix}/{name}": metric for name, metric in found.items()}
