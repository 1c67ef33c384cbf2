"""Simulated people as batches of pictures, and as folders of a dataset."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image

from speech2face.files import sha256
from speech2face.talkers import geometry, portrait, recording
from speech2face.talkers.traits import Person, draw_clip, draw_scene

NOISE = (4, 56, 56)
PHOTO, CLIP = "images/{:02d}.png", "audios/{:02d}.flac"
Tensors = dict[str, torch.Tensor]


def parameters(people: Sequence[Person], pictures: Sequence[int]) -> tuple[Tensors, Tensors]:
    """What portrait.render takes for one picture of each person: face and scene, all (batch, ...)."""

    def stack(rows: list[dict[str, float]]) -> Tensors:
        columns = {key: torch.tensor([row[key] for row in rows]) for key in rows[0]}
        return {key: column.float() if column.is_floating_point() else column for key, column in columns.items()}

    face = stack([person.face for person in people])
    noise = {id(person): person.random("noise").random(NOISE, np.float32) for person in people}
    face["noise"] = torch.from_numpy(np.stack([noise[id(person)] for person in people]))
    return face, stack([draw_scene(person, picture) for person, picture in zip(people, pictures, strict=True)])


def portraits(people: Sequence[Person], pictures: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """One picture of each person -> images (batch, 3, 224, 224) uint8 RGB, landmarks (batch, 72, 2) x, y in pixels."""
    images, landmarks = portrait.render(*parameters(people, pictures))
    return (images * 255).round().to(torch.uint8), landmarks


def write_people(root: Path, people: Sequence[Person], clips: int, photos: int, seconds: float) -> None:
    """Write `<root>/<person>/audios/*.flac` and `images/*.png` of some people, each person whole or not at all."""
    if photos:
        images = portraits(np.repeat(people, photos), list(range(photos)) * len(people))[0]
        images = images.permute(0, 2, 3, 1).unflatten(0, (len(people), photos)).numpy()
    for number, person in enumerate(people):
        partial = root / f".{person.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        for pattern in (PHOTO, CLIP):
            (partial / pattern).parent.mkdir(parents=True)
        for i in range(photos):
            Image.fromarray(images[number, i]).save(partial / PHOTO.format(i), compress_level=3)
        for i in range(clips):
            waveform = recording.record(person, i, seconds)
            (partial / CLIP.format(i)).write_bytes(recording.encode(waveform, "flac", "flac"))
        shutil.rmtree(root / person.name, ignore_errors=True)  # there only if files of it were lost
        partial.rename(root / person.name)


def photo_rows(root: Path, people: Sequence[Person], photos: int) -> list[dict[str, Any]]:
    """Rows of prepared/faces.parquet: person, split, path below root, sha256, landmarks (144,) x, y in pixels."""
    if not photos:
        return []
    face, scene = parameters(np.repeat(people, photos), list(range(photos)) * len(people))
    landmarks = geometry.landmarks(geometry.measure(face, scene)).float()
    points = iter(landmarks.flatten(1).numpy())
    return [
        file_row(root, person, PHOTO.format(i)) | {"landmarks": next(points)}
        for person in people
        for i in range(photos)
    ]


def clip_rows(root: Path, people: Sequence[Person], clips: int, seconds: float) -> list[dict[str, Any]]:
    """Rows of prepared/clips.parquet: person, split, path below root, sha256, seconds, text."""
    rows = []
    for person in people:
        for i in range(clips):
            row = file_row(root, person, CLIP.format(i))
            with av.open(str(root / row["path"])) as file:
                row["seconds"] = file.duration / av.time_base
            rows.append(row | {"text": draw_clip(person, i, seconds).text})
    return rows


def file_row(root: Path, person: Person, name: str) -> dict[str, Any]:
    path = f"{person.name}/{name}"
    return {"person": person.name, "split": person.split, "path": path, "sha256": sha256(root / path)}
