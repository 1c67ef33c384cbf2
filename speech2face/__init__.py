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

    Random weights are warned of. Raises speech2face.errors.UserError where run.py would end with an error.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from speech2face.compose import build_reconstructor, check, compose_config, locate_parts
    from speech2face.errors import UserError, one_line

    try:
        config = compose_config(list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(one_line(error)) from None
    if "modality" not in config.pipeline:
        raise UserError(f"pipeline={config.pipeline.name} has nothing to build: only speech and face have")
    check(config)
    return build_reconstructor(config, locate_parts(config), list(overrides))[0]
