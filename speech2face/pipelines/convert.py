"""`pipeline=convert`: any readable checkpoint -> our format."""

import logging

from omegaconf import DictConfig, OmegaConf

from speech2face.build import PARTS, load_part, locate_parts, settle_preprocessing
from speech2face.errors import UserError
from speech2face.runs import Run, sha256

log = logging.getLogger(__name__)


def convert(config: DictConfig, run: Run, name: str, part: str) -> int:
    """Write the weights of `part` ("encoder" or "decoder") to the run's directory, with architecture and front end."""
    from speech2face.weights.load import save

    if part not in PARTS:
        raise UserError(f"pipeline.part={part}: must be one of {', '.join(PARTS)}")
    located = locate_parts(config, (part,))[part]
    with run.stage("load"):
        loaded = load_part(config, part, located, run.overrides)
    if part == "encoder":
        settle_preprocessing(config, loaded.preprocessing, run.overrides)
        loaded.preprocessing = OmegaConf.to_container(config.preprocessing, resolve=True)
    run.save_config(config)
    with run.stage("write"):
        save(run.directory, part, loaded)
    run.record["weights"] = {
        part: {
            "weights": located.weights,
            "layout": loaded.layout,
            "sha256": sha256(located.file) if located.file else None,
        }
    }
    log.info("%s weights (%s) in our format; use them with %s.weights=%s", loaded.layout, part, part, run.directory)
    return 0
