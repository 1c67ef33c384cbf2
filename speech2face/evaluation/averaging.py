"""One query and one photo per person, by averaging embeddings: Speech Fusion to Face (Bai et al., ACM MM 2022)."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from speech2face.evaluation.evaluation import Material
from speech2face.inference.cache import Embeddings


def averaged(material: Material, photos: Sequence[Embeddings]) -> Material:
    """The material with the mean embedding of each person's queries, and of their photos.

    photos: by person of the gallery, embeddings (k, 4096) of one or more photos. The first query of a person stands for
    all of them.
    """
    people, first = np.unique(material.rows, return_index=True)
    queries = [np.asarray(material.embeddings[np.flatnonzero(material.rows == person)]).mean(0) for person in people]
    gallery = np.stack([np.asarray(own).mean(0) for own in photos])
    return dataclasses.replace(
        material,
        gallery=Embeddings(gallery, np.arange(len(gallery))),
        queries=[material.queries[row] for row in first],
        embeddings=Embeddings(np.stack(queries), np.arange(len(queries))),
        rows=people,
    )
