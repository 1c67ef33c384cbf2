"""What judges say of drawn faces, beside the photographs of the same people.

Four views of a person are looked at: "photograph"; "from_photo", the face drawn from the first photograph's embedding;
"clip", the face drawn from one query; and "person", the mean embedding by the judge of the faces drawn from all of the
person's queries, which is compared with the mean of the photographs (SF2F: Bai et al., ACM MM 2022, whose program calls
it average_facenet_embedding).
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy import stats
from scipy.special import xlogy
from tqdm import tqdm

from speech2face.errors import UserError
from speech2face.evaluation import metrics
from speech2face.evaluation.metrics import Estimator, Metric
from speech2face.evaluation.retrieval import ranks
from speech2face.inference.cache import batches
from speech2face.inference.decoder import Decoder
from speech2face.judges.base import Judge, Portrait, find_face
from speech2face.preprocessing.photo import open_image

if TYPE_CHECKING:
    from speech2face.evaluation.evaluation import Material, Options

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
    options: "Options",
) -> dict[str, Metric]:
    """What judges say of the people whose faces are drawn, of all their queries, and of as many photographs.

    pictured: (k,) one query of each of these people. from_photos: (k, height, width, 3) uint8, the faces drawn from the
    embeddings of their photos. people: estimator of k rows.
    """
    rows = material.rows[pictured]
    queries = np.flatnonzero(np.isin(material.rows, rows))
    order = np.argsort(rows)
    clips = order[np.searchsorted(rows[order], material.rows[queries])]
    faces = [face.image for some in batches(material.embeddings[queries], BATCH) for face in decoder(np.stack(some))]
    photographs = {i: open_photos(material, row, options.clips) for i, row in enumerate(rows)}
    pictures = {
        "photograph": [image for images in photographs.values() for image in images],
        "from_photo": [Image.fromarray(face) for face in from_photos],
        "clip": [Image.fromarray(face) for face in faces],
    }
    who = {"photograph": np.array([i for i, images in photographs.items() for _ in images])}
    who |= {"from_photo": np.arange(len(rows)), "clip": clips}
    traits = material.traits(("sex", "age"), [material.people[row] for row in rows])
    return judge(judges, pictures, who, people, traits, options.gallery_sizes)


def open_photos(material: "Material", row: int, most: int) -> list[Image.Image]:
    """The photo of a gallery row, then further ones of the person that are no queries and can be read."""
    dataset, first = material.dataset, material.photos[row]
    used = {first, *(material.queries[i] for i in np.flatnonzero(material.rows == row))}
    images = [open_image(dataset.root / first)]
    for path in dataset.files["face"][material.people[row]]:
        if path not in used and len(images) < most:
            with suppress(UserError):
                images.append(open_image(dataset.root / path))
    return images


def judge(
    judges: dict[str, Judge],
    pictures: dict[str, Sequence[Image.Image]],
    who: dict[str, np.ndarray],
    people: Estimator,
    traits: dict[str, np.ndarray],
    gallery_sizes: Sequence[int],
) -> dict[str, Metric]:
    """Metrics of all judges: judge/NAME/VIEW/..., and judge/detected/VIEW, the share with a detected face.

    pictures: RGB, of the views "photograph", "from_photo" and "clip". who: the person of each picture, 0..k - 1.
    people: estimator of k rows, one per person. traits: (k,) what is known of the people.
    """
    portraits = {view: find_faces(images, view) for view, images in pictures.items()}
    found = {
        f"judge/detected/{view}": people.of(who[view]).share(np.array([one.detected for one in seen], float), np.nan)
        for view, seen in portraits.items()
    }
    for name, one in judges.items():
        opinions = {view: one(seen) for view, seen in portraits.items()}
        embeddings = {view: said.embeddings for view, said in opinions.items() if said.embeddings is not None}
        for view, (drawn, truth, gallery) in compared(embeddings, who).items():
            metric = likeness(people.of(truth), drawn, gallery, truth, gallery_sizes)
            found |= {f"judge/{name}/{view}/{key}": value for key, value in metric.items()}
        for view, said in opinions.items():
            prefix = f"judge/{name}/{view}"
            if said.probabilities is not None and len(said.probabilities) >= FEWEST:
                found[f"{prefix}/vggface_score"] = vggface_score(said.probabilities, people.seed)
            truth = {trait: values[who[view]] for trait, values in traits.items() if trait in said.traits}
            read = {trait: said.traits[trait] for trait in truth}
            found |= metrics.attributes(people.of(who[view]), prefix, read, truth)
    return found


def compared(
    embeddings: dict[str, np.ndarray], who: dict[str, np.ndarray]
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """By view: embeddings (n, d), their people (n,), and the embeddings (k, d) that they are compared with.

    Those are of the first photograph of each person, but for "person" of the mean of all. Photographs are compared with
    the first one, too, where people have several. embeddings, who: by view, as of `judge`; {} gives {}.
    """
    if not embeddings:
        return {}
    photographs, owners = embeddings["photograph"], who["photograph"]
    first = np.unique(owners, return_index=True)[1]
    everybody, others = np.arange(len(first)), np.setdiff1d(np.arange(len(owners)), first)
    views = {view: (embeddings[view], who[view], photographs[first]) for view in ("from_photo", "clip")}
    views["person"] = averaged(embeddings["clip"], who["clip"]), everybody, averaged(photographs, owners)
    if len(others):
        views["photograph"] = photographs[others], owners[others], photographs[first]
    return views


def find_faces(images: Sequence[Image.Image], name: str) -> list[Portrait]:
    """Find the face on each picture. name: of the pictures, for the progress bar."""
    return [find_face(image) for image in tqdm(images, desc=f"judges: {name}", unit="picture", delay=2)]


def averaged(embeddings: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Mean embedding (k, d) of each person. people: (n,) the person of each of (n, d) embeddings, 0..k - 1."""
    sums = np.zeros((people.max() + 1, embeddings.shape[1]))
    np.add.at(sums, people, embeddings)
    return sums / np.bincount(people)[:, None]


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
