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
from speech2face.talkers.traits import Person, draw_clip, draw_person, draw_scene

NOISE = (4, 56, 56)
PHOTO, CLIP = "images/{:02d}.png", "audios/{:02d}.flac"
NORMALIZED = "normalized.png"  # a person's face as a decoder is to draw it
# Frontal, neutral, in one light, before one wall and in one shirt: what is left is the face.
NEUTRAL_SCENE = dict.fromkeys(draw_scene(draw_person(0, 0), 0), 0.0) | {
    **{"zoom": 1.0, "light_azimuth": -20.0, "light_elevation": 30.0, "light_strength": 1.0, "ambient": 0.5},
    **{"background_hue": 0.6, "background_value": 0.6},
}
NEUTRAL_CLOTHES = {"clothing": 0, "clothing_hue": 0.6, "clothing_value": 0.45}
Tensors = dict[str, torch.Tensor]


def parameters(people: Sequence[Person], pictures: Sequence[int] | None) -> tuple[Tensors, Tensors]:
    """What portrait.render takes for one picture of each person (None: the normalized face): face and scene."""

    def stack(rows: list[dict[str, float]]) -> Tensors:
        columns = {key: torch.tensor([row[key] for row in rows]) for key in rows[0]}
        return {key: column.float() if column.is_floating_point() else column for key, column in columns.items()}

    face = stack([person.face for person in people])
    noise = {id(person): person.random("noise").random(NOISE, np.float32) for person in people}
    face["noise"] = torch.from_numpy(np.stack([noise[id(person)] for person in people]))
    if pictures is None:
        face |= {name: torch.full_like(face[name], value) for name, value in NEUTRAL_CLOTHES.items()}
        return face, stack([NEUTRAL_SCENE] * len(people))
    return face, stack([draw_scene(person, picture) for person, picture in zip(people, pictures, strict=True)])


def portraits(people: Sequence[Person], pictures: Sequence[int] | None) -> tuple[torch.Tensor, torch.Tensor]:
    """One picture of each person (None: the normalized face) -> images, landmarks.

    images (batch, 3, 224, 224) uint8 RGB; landmarks (batch, 72, 2) x, y in pixels.
    """
    images, landmarks = portrait.render(*parameters(people, pictures))
    return (images * 255).round().to(torch.uint8), landmarks


def write_people(root: Path, people: Sequence[Person], clips: int, photos: int, seconds: float) -> None:
    """Write `<root>/<person>/audios/*.flac`, `images/*.png`, `normalized.png`; each person whole or not at all."""
    if photos:
        normalized = portraits(people, None)[0].permute(0, 2, 3, 1).numpy()
        images = portraits(np.repeat(people, photos), list(range(photos)) * len(people))[0]
        images = images.permute(0, 2, 3, 1).unflatten(0, (len(people), photos)).numpy()
    for number, person in enumerate(people):
        partial = root / f".{person.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        for pattern in (PHOTO, CLIP):
            (partial / pattern).parent.mkdir(parents=True)
        for i in range(photos):
            Image.fromarray(images[number, i]).save(partial / PHOTO.format(i), compress_level=3)
        if photos:
            Image.fromarray(normalized[number]).save(partial / NORMALIZED, compress_level=3)
        for i in range(clips):
            waveform = recording.record(person, i, seconds)
            (partial / CLIP.format(i)).write_bytes(recording.encode(waveform, "flac", "flac"))
        shutil.rmtree(root / person.name, ignore_errors=True)  # there only if files of it were lost
        partial.rename(root / person.name)


def photo_rows(root: Path, people: Sequence[Person], photos: int) -> list[dict[str, Any]]:
    """Rows of prepared/faces.parquet: person, split, path below root, sha256, landmarks (144,) x, y in pixels."""
    if not photos:
        return []
    points = iter(landmarks(np.repeat(people, photos), list(range(photos)) * len(people)))
    return [
        file_row(root, person, PHOTO.format(i)) | {"landmarks": next(points)}
        for person in people
        for i in range(photos)
    ]


def normalized_rows(root: Path, people: Sequence[Person]) -> list[dict[str, Any]]:
    """Rows of prepared/normalized.parquet, like those of faces.parquet: each person's normalized face."""
    points = landmarks(people, None)
    return [file_row(root, person, NORMALIZED) | {"landmarks": row} for person, row in zip(people, points, strict=True)]


def landmarks(people: Sequence[Person], pictures: Sequence[int] | None) -> np.ndarray:
    """(batch, 144) x, y in pixels, of pictures that need not be drawn for it."""
    return geometry.landmarks(geometry.measure(*parameters(people, pictures))).float().flatten(1).numpy()


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
