"""The sheet of pictures after each epoch. It always shows the same people of the validation set."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL.Image import Image

from speech2face.evaluation.retrieval import top
from speech2face.inference import sheets
from speech2face.inference.decoder import Decoder, to_pixels
from speech2face.training.data import Clips, Photos, Portraits
from speech2face.training.decoder import DecoderTraining
from speech2face.training.face import FaceTraining
from speech2face.training.prior import PriorTraining, hear
from speech2face.training.voice import VoiceTraining

SHOWN = 8  # people


def draw_neighbours(module: FaceTraining, rows: Photos, names: Sequence[str]) -> Image:
    """For photos of some people, the nearest first photos of all people. names: of the people, by number."""
    _, first = np.unique(rows.people, return_index=True)
    gallery = first[:200]
    queries = [int(row) for row in np.setdiff1d(np.arange(len(rows)), first)[: 4 * SHOWN : 4]] or list(gallery[:SHOWN])

    def embed(which: Sequence[int]) -> np.ndarray:
        photo = torch.from_numpy(np.stack([rows.pixels[row] for row in which])).to(module.device)
        return torch.cat([module.embed({"photo": part}, None) for part in photo.split(32)]).cpu().numpy()

    nearest = top(embed(queries), embed(gallery), min(6, len(gallery)))
    cells = [
        (names[rows.people[row]], [rows.pixels[row], *(rows.pixels[gallery[one]] for one in near)])
        for row, near in zip(queries, nearest, strict=True)
    ]
    headings = ["photo", *(f"{i + 1}. nearest" for i in range(nearest.shape[1]))]
    return sheets.table(cells, headings, "first photos of others nearest to a photo")


def draw_portraits(module: DecoderTraining, rows: Portraits, names: Sequence[str]) -> Image:
    """Normalized faces of some people, and the faces decoded from embeddings of their photos. names: of the people."""
    _, chosen = np.unique(rows.which[0], return_index=True)
    chosen = chosen[:SHOWN]
    embeddings = torch.from_numpy(np.stack([np.array(rows.embeddings[0][row]) for row in chosen]))
    drawn = to_pixels(module.network(embeddings.to(module.device))[1]).cpu().numpy()
    cells = [("truth", [np.array(rows.pictures[rows.which[0][row]]) for row in chosen]), ("drawn", list(drawn))]
    return sheets.table(
        cells, [names[rows.which[0][row]] for row in chosen], "normalized faces, and the faces drawn of photos"
    )


def draw_voices(module: VoiceTraining, rows: Clips, photos: dict[int, Path], decoder: Decoder) -> Image:
    """First photos of some people, and the faces decoded from these photos and from the voices.

    photos: first photo of each person who has one, by number. decoder: of the faces.
    """
    with_photo = np.flatnonzero(np.isin(rows.people, list(photos)))
    _, first = np.unique(rows.people[with_photo], return_index=True)
    chosen = with_photo[first][:SHOWN].tolist()
    items = [rows[0, row] for row in chosen]
    what = "trunk" if rows.cached else "features"
    of_voices = module.embed({what: torch.stack([item[what] for item in items]).to(module.device)})
    of_photos = torch.stack([item["face"] for item in items])
    drawn = [[faces.image for faces in decoder(one.float())] for one in (of_photos, of_voices)]
    shown = [photos[rows.people[row]] for row in chosen]
    cells = [("photo", shown), ("face from photo", drawn[0]), ("face from voice", drawn[1])]
    return sheets.table(cells, [name_of(rows, row) for row in chosen], "people of the validation set")


def draw_samples(module: PriorTraining, rows: Clips, decoder: Decoder) -> Image:
    """The typical faces of some voices, and samples of the faces that they may belong to. decoder: draws samples."""
    _, first = np.unique(rows.people, return_index=True)
    chosen = first[:SHOWN].tolist()
    what = "trunk" if rows.cached else "features"
    voices = hear(module.use("encoder"), {what: torch.stack([rows[0, row][what] for row in chosen]).to(module.device)})
    decoder.samples = SHOWN
    drawn = [[one.image, *(face.image for face in one.samples)] for one in decoder(voices)]
    headings = ["typical", *(f"sample {number + 1}" for number in range(decoder.samples))]
    cells = [(name_of(rows, row), faces) for row, faces in zip(chosen, drawn, strict=True)]
    return sheets.table(cells, headings, "people of the validation set")


def name_of(rows: Clips, row: int) -> str:
    """The person of a row: the folder of the recording."""
    return Path(rows.files.path(int(rows.rows[row]))).parts[0]
