"""Preprocessing: files in, tensors out.

Inference, training, preparation and evaluation all use the same two front ends, `audio.Audio` and `image.Image`, and
no other code prepares the input of an encoder.
"""

from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass
class Prepared:
    """One input, ready for an encoder.

    features: (windows, ...) float32, one row for each window of a clip; a photo has one row.
    weights: of the windows in the mean of their embeddings; empty: equal ones.
    preview: the data of the panel. Speech: "waveform" (samples,) float32, the first window; "part" (samples,), all that
        was read; "heard", start and end in s of each window in that part; and "sample_rate" in Hz.
        Photo: "photo" and "crop", (height, width, 3) uint8 RGB; "outline", the corners (4, 2) of the crop in pixels of
        "photo"; and "matrix" (2, 3), which takes x, y, 1 in pixels of the photo as it was to pixels of the crop.
    measurements: value by column of results.csv.
    warnings: one line each.
    """

    features: torch.Tensor
    preview: dict[str, Any]
    measurements: dict[str, float | str | None]
    warnings: list[str]
    weights: list[float] = field(default_factory=list)
