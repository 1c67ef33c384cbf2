"""Pictures to look at after an epoch: the same people every time, of whom nobody has been learnt from."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image

from speech2face import pictures
from speech2face.evaluation.retrieval import top
from speech2face.reconstructor import to_pixels

SHOWN = 8  # people


def draw_neighbours(module: Any, rows: Any) -> Image:
    """A photo of some people nobody has learnt from, and the nearest first photos of others and themselves."""
    _, first = np.unique(rows.people, return_index=True)
    gallery = first[:200]
    asked = [int(row) for row in np.setdiff1d(np.arange(len(rows)), first)[: 4 * SHOWN : 4]] or list(gallery[:SHOWN])

    def see(which: Any) -> np.ndarray:
        photo = torch.from_numpy(np.stack([rows.pixels[row] for row in which])).to(module.device)
        return torch.cat([module.see({"photo": part}, None) for part in photo.split(32)]).cpu().numpy()

    nearest = top(see(asked), see(gallery), min(6, len(gallery)))
    cells = [
        (f"person {rows.people[row]}", [rows.pixels[row], *(rows.pixels[gallery[one]] for one in near)])
        for row, near in zip(asked, nearest, strict=True)
    ]
    headings = ["photo", *(f"{i + 1}. nearest" for i in range(nearest.shape[1]))]
    return pictures.sheet(cells, headings, "first photos of others nearest to a photo")


def draw_portraits(module: Any, rows: Any) -> Image:
    """Normalized faces of people nobody has learnt from, and what the decoder draws of a photo's feature."""
    _, chosen = np.unique(rows.which[0], return_index=True)
    chosen = chosen[:SHOWN]
    features = torch.from_numpy(np.stack([np.array(rows.features[0][row]) for row in chosen]))
    drawn = to_pixels(module.network(features.to(module.device))[1]).cpu().numpy()
    cells = [("truth", [np.array(rows.pictures[rows.which[0][row]]) for row in chosen]), ("drawn", list(drawn))]
    return pictures.sheet(
        cells, [str(row) for row in chosen], "normalized faces, and what is drawn of a photo's feature"
    )


def draw_voices(module: Any, rows: Any, photos: list[Path], seeing: Any) -> Image:
    """First photos of people nobody has learnt from, what is drawn of them, and what is drawn of their voices."""
    _, chosen = np.unique(rows.people, return_index=True)
    chosen = chosen[:SHOWN].tolist()
    items = [rows[0, row] for row in chosen]
    heard = module.network(torch.stack([item["features"] for item in items]).to(module.device))
    seen = torch.stack([item["face"] for item in items])
    drawn = [list(to_pixels(seeing.decode(feature.float())[1]).cpu().numpy()) for feature in (seen, heard)]
    shown = [photos[rows.people[row]] for row in chosen]
    cells = [("photo", shown), ("drawn of the photo", drawn[0]), ("drawn of the voice", drawn[1])]
    return pictures.sheet(cells, [str(row) for row in chosen], "people nobody has learnt from")
