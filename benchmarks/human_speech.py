"""The sex that a probe reads in the embeddings and faces of human speech.

`python benchmarks/human_speech.py CLIPS TALKERS`

CLIPS: a directory of recordings named female_*.wav and male_*.wav. TALKERS: a dataset of simulated people. The probe is
fitted on embeddings of their photos, as in an evaluation. Writes human_speech.png, the drawn faces, into the current
directory.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from speech2face import build
from speech2face.data.dataset import read_dataset
from speech2face.evaluation.probes import fit_classifier, predict
from speech2face.inference import pictures

PEOPLE = 2000  # that the probe is fitted on


def main(clips: Path, talkers: Path) -> None:
    dataset = read_dataset(talkers)
    face = build("pipeline=face", "preprocessing.crop=none").encoder
    people = dataset.split("train")[:PEOPLE]
    photos = [face.prepare(dataset.root / dataset.files["face"][person][0]).features for person in people]
    embeddings = torch.cat([face.encode(photos[i : i + 64]) for i in range(0, len(photos), 64)]).numpy()
    probe = fit_classifier(embeddings, dataset.columns(["sex"], people)["sex"])
    files = sorted(clips.glob("*.wav"))
    rows, columns = [], [file.stem for file in files]
    for encoder in ("paper", "ast"):
        voice = build("pipeline=speech", f"encoder={encoder}", "preprocessing.windows=3")
        results = [voice(file) for file in files]
        drawn = [face.prepare(result.face).features for result in results]
        read = {
            "drawn face": predict(probe, face.encode(drawn).numpy()),
            "embedding": predict(probe, np.stack([result.embedding for result in results])),
        }
        for name, sexes in read.items():
            right = [sex == file.stem.partition("_")[0] for sex, file in zip(sexes, files, strict=True)]
            wrong = [file.stem for file, good in zip(files, right, strict=True) if not good]
            print(f"{encoder}: sex read in the {name} is right for {sum(right)} of {len(files)}; wrong: {wrong}")
        rows.append((encoder, [result.face for result in results]))
    sheets = []
    for start in range(0, len(files), 10):
        part = slice(start, start + 10)
        title = "Human speech, and the faces that two encoders reconstruct from it" if start == 0 else ""
        sheets.append(pictures.sheet([(name, faces[part]) for name, faces in rows], columns[part], title))
    image = Image.new("RGB", (max(one.width for one in sheets), sum(one.height for one in sheets)), pictures.PAPER)
    for i, one in enumerate(sheets):
        image.paste(one, (0, sum(above.height for above in sheets[:i])))
    image.save("human_speech.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
