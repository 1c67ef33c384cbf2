"""Sheets of many faces, of at most a screen where they can be chosen. Arrays of pixels are RGB uint8."""

from collections.abc import Sequence
from itertools import zip_longest
from math import prod
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from speech2face.inference.pictures import FAINT, INK, PAPER, WARNING, font_of, write_text

CELL, PAD = 168, 8
SCREEN = (1600, 1000)  # pixels
SMALLEST = 96  # pixels of a face on a contact sheet
CAPTION = 20
ROWS = 10  # of a table that is to fit on a screen


def _grid(cell: int, caption: int) -> tuple[int, int]:
    """The columns and the lines of faces of `cell` pixels that fit on a screen below a title."""
    return SCREEN[0] // (cell + PAD), (SCREEN[1] - 40) // (cell + PAD + caption)


FACES = prod(_grid(SMALLEST, CAPTION))  # most on a contact sheet


def table(
    rows: Sequence[tuple[str, Sequence[Path | np.ndarray | str]]],
    columns: Sequence[str],
    title: str,
) -> Image.Image:
    """A table of faces. More than five rows get smaller faces, so that ten still fit on a screen.

    rows: (label, cells); a cell is a picture (height, width, 3), the path of one, or a text in its place.
    columns: headings, with commas where a line may end.
    """
    cell = CELL if len(rows) <= 5 else max(SCREEN[1] * 9 // 10 // min(len(rows), ROWS) - PAD, 80)
    low, label = min(64, cell), 190
    count = max(len(cells) for _, cells in rows)
    heights = [cell if any(not isinstance(one, str) for one in cells) else low for _, cells in rows]
    headings = [heading.split(", ") for heading in columns]
    across = max(cell, 120) + PAD  # of a column: its heading needs some space
    tops = np.cumsum([46 + 18 * max(map(len, headings))] + [height + PAD for height in heights]).tolist()
    image = Image.new("RGB", (max(label + count * across + PAD, 420), tops[-1] + PAD), PAPER)
    draw = ImageDraw.Draw(image)
    write_text(draw, (PAD, 10), title, 18, width=image.width - 2 * PAD)
    for column, lines in enumerate(headings):
        for i, line in enumerate(lines):
            write_text(draw, (label + PAD + column * across, 40 + 18 * i), line, 14, INK, width=across - PAD)
    for (name, cells), y, height in zip(rows, tops, heights, strict=False):
        write_text(draw, (PAD, y + height / 2 - 8), name, 14, width=label - PAD)
        for column, content in enumerate(cells):
            x = PAD + label + column * across
            if isinstance(content, str):
                draw.rectangle((x, y, x + across - PAD, y + height), "#f6e7e6")
                _wrapped(draw, (x + 8, y + 6), content, across - PAD - 16, height // 16)
            else:
                image.paste(_face(content, cell), (x, y))
    return image


def contact_sheet(faces: Sequence[tuple[str, Path | np.ndarray]], title: str) -> Image.Image:
    """A grid of faces with their names, as large as fits on a screen. faces: (name or "", picture or its path).

    Names are paths, and lose the folders that all of them have in common.
    """
    parts = [name.split("/") for name, _ in faces]
    differ = [len({one[i] for one in parts}) > 1 for i in range(min(map(len, parts)) - 1)]
    names = ["/".join(part for part, kept in zip_longest(one, differ, fillvalue=True) if kept) for one in parts]
    caption = CAPTION if any(names) else 0
    sizes = (size for size in range(CELL, SMALLEST, -PAD) if len(faces) <= prod(_grid(size, caption)))
    cell = next(sizes, SMALLEST)
    _, lines = _grid(cell, caption)
    columns = max(-(-len(faces) // lines), min(len(faces), round((1.6 * len(faces)) ** 0.5)))
    height = 40 + -(-len(faces) // columns) * (cell + PAD + caption)
    image = Image.new("RGB", (max(columns * (cell + PAD) + PAD, 420), height), PAPER)
    draw = ImageDraw.Draw(image)
    write_text(draw, (PAD, 10), title, 18, width=image.width - 2 * PAD)
    for number, (name, (_, face)) in enumerate(zip(names, faces, strict=True)):
        x, y = PAD + number % columns * (cell + PAD), 40 + number // columns * (cell + PAD + caption)
        image.paste(_face(face, cell), (x, y))
        write_text(draw, (x, y + cell + 2), name, 12, FAINT, width=cell)
    return image


def _face(picture: Path | np.ndarray, cell: int) -> Image.Image:
    with Image.open(picture) if isinstance(picture, Path) else Image.fromarray(picture) as face:
        return face.convert("RGB").resize((cell, cell), Image.Resampling.BICUBIC)


def _wrapped(draw: ImageDraw.ImageDraw, xy: tuple[int, int], text: str, width: int, lines: int) -> None:
    """Draw text broken into lines of `width` pixels, at most `lines` of them; "..." stands for the rest."""
    font, words, line, y = font_of(12, text.isascii()), text.replace("/", "/ ").split(" "), "", xy[1]
    for word in [*words, None]:
        joined = f"{line} {word}".replace("/ ", "/").strip() if word is not None else ""
        if word is None or draw.textlength(joined, font) > width:
            more = " ..." if lines == 1 and word is not None else ""
            write_text(draw, (xy[0], y), line + more, 12, WARNING, width)
            y, lines, line = y + 15, lines - 1, word or ""
            if not lines:
                return
        else:
            line = joined
