"""Speech2Face: reconstruct a face from a voice or from a photo, and compare the encoders that do it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speech2face.reconstructor import Reconstructor

__version__ = "0.1.0"


def build(*overrides: str) -> "Reconstructor":
    """Build a pipeline from the configuration, with the same overrides as on the command line.

    >>> pipeline = build("pipeline=speech", "encoder=ast", "encoder.weights=ast.pt", "decoder.weights=decoder.pt")
    >>> result = pipeline("clip.wav")                     # or pipeline(samples, sample_rate=44_100)
    >>> result.face, result.landmarks, result.embedding   # (224, 224, 3) uint8, (72, 2) pixels, (4096,)

    Raises speech2face.errors.UserError where run.py would end with an error.
    """
    from speech2face.build import build_reconstructor, check, compose_config, locate_parts

    config = compose_config(list(overrides))
    check(config)
    return build_reconstructor(config, locate_parts(config), list(overrides))[0]
