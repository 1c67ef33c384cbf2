"""The recipes of the weights for photographs, at small size: from folders to a face for a voice."""

import json
import shutil
from pathlib import Path

import numpy as np
from conftest import PHOTO, ROOT, SPEECH, run_py
from PIL import Image

VOICES = (SPEECH, ROOT / "examples" / "alsa_female.flac")


def test_from_photographs_and_recordings_of_different_people_to_a_face(tmp_path: Path) -> None:
    photo = np.asarray(Image.open(PHOTO).convert("RGB"))
    lines = ["person,split,sex,age,colour"]
    for number in range(6):
        person = tmp_path / "photographs" / f"p{number}" / "images"
        person.mkdir(parents=True)
        Image.fromarray(np.roll(photo, number % 3, 2) // (1 + number // 3)).save(person / "a.png")
        lines.append(f"p{number},{'val' if number > 3 else 'train'},{('female', 'male')[number % 2]},4{number},1")
    (tmp_path / "photographs" / "people.csv").write_text("\n".join(lines))
    lines = ["person,split,sex"]
    for number in range(4):
        person = tmp_path / "voices" / f"v{number}" / "audios"
        person.mkdir(parents=True)
        shutil.copy(VOICES[number % 2], person)
        lines.append(f"v{number},{'val' if number > 1 else 'train'},{('male', 'female')[number % 2]}")
    (tmp_path / "voices" / "people.csv").write_text("\n".join(lines))

    def run(*arguments: str) -> None:
        result = run_py(*arguments, cwd=tmp_path)
        assert result.returncode == 0, result.stderr

    small = ["device=cpu", "workers=1", "batch_size=4"]
    run("pipeline=prepare", "data.root=photographs", "encoder@face=dlib", "device=cpu", "workers=1")
    run("experiment=portraits_decoder", "data.root=photographs", "decoder.model.components=4", *small)
    ge2e = ["encoder.init=null", "encoder.model.hidden=8", "encoder.model.layers=1"]
    people = ["data.root=voices", "data.faces=photographs", "training.versions=1", "trainer.max_epochs=2"]
    run("experiment=portraits_voice", *people, *ge2e, *small)
    trained = [
        "encoder.weights=outputs/portraits/2_voice_ge2e/weights/best",
        "decoder.weights=outputs/portraits/1_decoder/weights/best",
    ]
    run(f"audio={SPEECH}", *trained, "device=cpu", "hydra.run.dir=out")
    assert Image.open(tmp_path / "out" / SPEECH.stem / "face.png").size == (224, 224)
    card = json.loads((tmp_path / "outputs/portraits/2_voice_ge2e/weights/best/speech2face.json").read_text())
    assert card["embeddings"]["choice"] == "dlib" and card["training"]["recipe"]["pairing"] == "traits"
