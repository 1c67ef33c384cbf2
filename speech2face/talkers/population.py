"""Simulated people as batches of pictures, and as folders of a dataset."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image

from speech2face.files import sha256
from speech2face.preprocessing.channel import encode
from speech2face.talkers import curves, portrait, proportions
from speech2face.talkers.conditions import draw_clip, draw_scene
from speech2face.talkers.geometry import Tensors
from speech2face.talkers.recording import record
from speech2face.talkers.traits import Person, draw_person

NOISE = (4, 56, 56)
PHOTO, CLIP = "images/{:02d}.png", "audios/{:02d}.flac"
NORMALIZED = "normalized.png"  # the normalized face, which a decoder learns to draw
# The scene and the clothes of every normalized face: frontal pose, neutral expression, and the same light, wall and
# shirt for all people.
NEUTRAL_SCENE = dict.fromkeys(draw_scene(draw_person(0, 0), 0), 0.0) | {
    **{"zoom": 1.0, "light_azimuth": -20.0, "light_elevation": 30.0, "light_strength": 1.0, "ambient": 0.5},
    **{"background_hue": 0.6, "background_value": 0.6},
}
NEUTRAL_CLOTHES = {"clothing": 0, "clothing_hue": 0.6, "clothing_value": 0.45}


def parameters(people: Sequence[Person], pictures: Sequence[int] | None) -> tuple[Tensors, Tensors]:
    """The arguments `face` and `scene` of portrait.render, for one picture of each person.

    pictures: number of the picture for each person; None for normalized faces.
    """

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
    """Draw one picture of each person; returns images and landmarks.

    pictures: number of the picture for each person; None for normalized faces.
    images: (batch, 3, 224, 224) uint8 RGB. landmarks: (batch, 72, 2) x and y in pixels.
    """
    images, landmarks = portrait.render(*parameters(people, pictures))
    return (images * 255).round().to(torch.uint8), landmarks


def landmarks(people: Sequence[Person], pictures: Sequence[int] | None) -> np.ndarray:
    """Landmarks (batch, 144) float32, x and y in pixels, of the same pictures as portraits(), without drawing them."""
    return curves.landmarks(proportions.measure(*parameters(people, pictures))).float().flatten(1).numpy()


def write_people(root: Path, people: Sequence[Person], clips: int, photos: int, seconds: float) -> None:
    """Write `<root>/<person>/audios/*.flac`, `images/*.png` and `normalized.png`.

    A person's folder appears when all of its files are written, and replaces an existing folder.
    clips, photos: number per person. seconds: approximate length of a clip.
    """
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
            (partial / CLIP.format(i)).write_bytes(encode(record(person, i, seconds), "flac", "flac"))
        shutil.rmtree(root / person.name, ignore_errors=True)  # exists only if some of its files were lost
        partial.rename(root / person.name)


def photo_rows(root: Path, people: Sequence[Person], photos: int) -> list[dict[str, str | np.ndarray]]:
    """Rows of prepared/faces.parquet: person, split, path below root, sha256, landmarks (144,) x and y in pixels."""
    if not photos:
        return []
    points = iter(landmarks(np.repeat(people, photos), list(range(photos)) * len(people)))
    return [
        {**file_row(root, person, PHOTO.format(i)), "landmarks": next(points)}
        for person in people
        for i in range(photos)
    ]


def normalized_rows(root: Path, people: Sequence[Person]) -> list[dict[str, str | np.ndarray]]:
    """Rows of prepared/normalized.parquet: the normalized face of each person, with the columns of photo_rows()."""
    points = landmarks(people, None)
    return [
        {**file_row(root, person, NORMALIZED), "landmarks": row} for person, row in zip(people, points, strict=True)
    ]


def clip_rows(root: Path, people: Sequence[Person], clips: int, seconds: float) -> list[dict[str, str | float]]:
    """Rows of prepared/clips.parquet: person, split, path below root, sha256, seconds, text.

    seconds: the argument of write_people().
    """
    rows: list[dict[str, str | float]] = []
    for person in people:
        for i in range(clips):
            row = file_row(root, person, CLIP.format(i))
            with av.open(str(root / row["path"])) as file:
                length = file.duration / av.time_base
            rows.append({**row, "seconds": length, "text": draw_clip(person, i, seconds).text})
    return rows


def file_row(root: Path, person: Person, name: str) -> dict[str, str]:
    """The columns that all tables share. name: path of the file below the person's folder."""
    path = f"{person.name}/{name}"
    return {"person": person.name, "split": person.split, "path": path, "sha256": sha256(root / path)}
