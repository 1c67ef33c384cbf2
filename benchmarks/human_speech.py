"""What the bundled voice encoders make of human speech: `python benchmarks/human_speech.py CLIPS TALKERS`.

CLIPS: a directory of recordings named female_*.wav and male_*.wav. TALKERS: a dataset of simulated people; a probe of
sex is fitted on features of their photos, as in an evaluation, and reads the face that was drawn of each voice. Writes
human_speech.png, the faces, into the current directory.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from speech2face import build, pictures
from speech2face.dataset import read_dataset
from speech2face.evaluation.probes import fit_classifier, predict

PEOPLE = 2000  # that the probe is fitted on


def main(clips: Path, talkers: Path) -> None:
    dataset = read_dataset(talkers)
    face = build("pipeline=face", "preprocessing.crop=none")
    people = dataset.split("train")[:PEOPLE]
    seen = [face.preprocessing(dataset.root / dataset.files["face"][person][0]).features for person in people]
    features = torch.cat([face.encode(seen[i : i + 64]) for i in range(0, len(seen), 64)]).numpy()
    probe = fit_classifier(features, dataset.columns(["sex"], people)["sex"])
    files = sorted(clips.glob("*.wav"))
    rows, columns = [], [file.stem for file in files]
    for encoder in ("paper", "ast"):
        voice = build("pipeline=speech", f"encoder={encoder}", "preprocessing.windows=3")
        results = [voice(file) for file in files]
        drawn = [face.preprocessing(result.face).features for result in results]
        read = {
            "drawn face": predict(probe, face.encode(drawn).numpy()),
            "feature": predict(probe, np.stack([result.embedding for result in results])),
        }
        for name, sexes in read.items():
            right = [sex == file.stem.partition("_")[0] for sex, file in zip(sexes, files, strict=True)]
            wrong = [file.stem for file, good in zip(files, right, strict=True) if not good]
            print(f"{encoder}: sex read in the {name} right for {sum(right)} of {len(files)}; wrong: {wrong}")
        rows.append((encoder, [result.face for result in results]))
    sheets = []
    for start in range(0, len(files), 10):
        part = slice(start, start + 10)
        title = "human speech, and the faces that are heard in it" if start == 0 else ""
        sheets.append(pictures.sheet([(name, faces[part]) for name, faces in rows], columns[part], title))
    image = Image.new("RGB", (max(one.width for one in sheets), sum(one.height for one in sheets)), pictures.PAPER)
    for i, one in enumerate(sheets):
        image.paste(one, (0, sum(above.height for above in sheets[:i])))
    image.save("human_speech.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
