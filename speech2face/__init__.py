"""Speech2Face: reconstruct a face from a voice or from a photo, and compare the encoders that do it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speech2face.inference.reconstructor import Reconstructor

__version__ = "0.2.0"


def build(*overrides: str) -> "Reconstructor":
    """Build the pipeline speech or face from the configuration, with the same overrides as on the command line.

    >>> pipeline = build("pipeline=speech", "encoder=ast", "encoder.weights=ast.pt", "decoder.weights=decoder.pt")
    >>> result = pipeline("clip.wav")                     # or pipeline(samples, sample_rate=44_100)
    >>> result.face, result.landmarks, result.embedding   # (224, 224, 3) uint8, (72, 2) pixels, (4096,)
    >>> results = pipeline(["a.wav", "b.wav"])            # in batches of batch_size=, read by workers= threads

    Random weights give a warning. Raises speech2face.errors.UserError where run.py would end with an error.
    """
    from speech2face.config.compose import options_of, store_defaults
    from speech2face.config.options import Reconstruct
    from speech2face.errors import UserError
    from speech2face.pipelines import parts, reconstruct

    if wrong := [one for one in overrides if not isinstance(one, str)]:
        raise UserError(f"build takes overrides such as 'encoder=ast', not {wrong[0]!r}")
    store_defaults()
    options = options_of(*overrides)
    if not isinstance(options, Reconstruct):
        raise UserError(f"pipeline={options.pipeline.name} has nothing to build: only speech and face have")
    options = parts.without_unused(options)
    parts.check_modality(options.encoder, options.pipeline.name, f"pipeline={options.pipeline.name}")
    pipeline = reconstruct.build(options, parts.load_parts(options, parts.locate_parts(options)))
    pipeline.workers = options.workers
    return pipeline
