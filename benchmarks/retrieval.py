"""Retrieval at scale: `python benchmarks/retrieval.py [GALLERY QUERIES]`, default 100,000 faces and 10,000 queries.

Embeddings are random, in a memory-mapped file in a temporary directory (1.8 GB). Prints a row for the association of
the same people, with four groupings, and a row for each distance.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from speech2face.evaluation.association import associate
from speech2face.evaluation.retrieval import DISTANCES, ranks
from speech2face.inference.cache import WIDTH, Embeddings

CHUNK = 1000
GROUPS = {"sex": 2, "language": 8, "nationality": 30}


def main() -> None:
    gallery_size, count = map(int, sys.argv[1:] or (100_000, 10_000))
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as directory:
        array = np.memmap(Path(directory, "embeddings.f32"), np.float32, "w+", shape=(gallery_size + count, WIDTH))
        for start in range(0, gallery_size, CHUNK):
            array[start : start + CHUNK] = random.standard_normal((CHUNK, WIDTH), np.float32)
        truth = random.integers(0, gallery_size, count)
        for start in range(0, count, CHUNK):
            noise = 20 * random.standard_normal((CHUNK, WIDTH), np.float32)
            array[gallery_size + start : gallery_size + start + CHUNK] = array[truth[start : start + CHUNK]] + noise
        gallery = Embeddings(array, np.arange(gallery_size))
        queries = Embeddings(array, np.arange(gallery_size, gallery_size + count))
        print("| distance | seconds | peak memory, MB | R@10 |\n| --- | --- | --- | --- |", flush=True)
        names, ages = np.arange(gallery_size).astype(str), random.uniform(18, 80, gallery_size)
        traits = {name: random.integers(0, kinds, gallery_size).astype(str) for name, kinds in GROUPS.items()}
        began = time.perf_counter()
        found = associate(queries, gallery, truth, names, traits | {"age": ages})
        seconds, peak = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        recall = found["association/voice_to_face/all/1:10"].value
        print(f"| association | {seconds:.0f} | {peak} | 1:10 {recall:.3f} |", flush=True)
        for distance in DISTANCES:
            began = time.perf_counter()
            found = ranks(queries, gallery, truth, distance)
            seconds, peak = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print(f"| {distance} | {seconds:.0f} | {peak} | {(found <= 10).mean():.3f} |", flush=True)


if __name__ == "__main__":
    main()
