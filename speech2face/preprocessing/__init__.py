"""Files in, tensors out: the only road into an encoder.

Inference, training, preparation and evaluation all go through the two front ends: `audio.Audio` and `image.Image`.
"""

from dataclasses import dataclass
from typing import Any

import torch


@dataclass
class Prepared:
    """One input, ready for an encoder.

    features: (windows, ...) float32, one row for each window of a clip (a photo has one).
    preview: what the panel shows. Speech: "waveform" (samples,) float32 and "sample_rate".
        Photo: "photo" and "crop", (height, width, 3) uint8 RGB, and "box", the edges of the crop in the photo.
    measurements: columns of results.csv.
    warnings: one line each.
    """

    features: torch.Tensor
    preview: dict[str, Any]
    measurements: dict[str, Any]
    warnings: list[str]
