"""`pipeline=convert`: any readable checkpoint -> our format."""

import logging

from omegaconf import DictConfig

from speech2face.compose import PARTS, check, config_dict, load_part, locate_parts, settle, settle_preprocessing
from speech2face.errors import UserError
from speech2face.files import sha256
from speech2face.runs import Run

log = logging.getLogger(__name__)


def convert(config: DictConfig, run: Run, name: str, part: str, slim: bool) -> int:
    """Write the weights of `part` ("encoder" or "decoder") to the run's directory, with architecture and front end."""
    from speech2face.weights.ours import save, without_run_settings

    if part not in PARTS:
        raise UserError(f"pipeline.part={part}: must be one of {', '.join(PARTS)}")
    if run.earlier is not None:
        raise UserError("pipeline=convert has nothing to resume")
    check(config)
    parts = locate_parts(config, (part,))
    located = parts[part]
    with run.stage("load"):
        loaded = load_part(config, part, located, run.overrides)
    if part == "encoder":
        settle_preprocessing(config, loaded.preprocessing, run.overrides)
        loaded.preprocessing = config_dict(config.preprocessing)
    tensors = loaded.model.state_dict()
    if slim:
        tensors = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
        if loaded.architecture.get("classes") and tensors.pop("classifier.weight", None) is not None:
            loaded.architecture["classes"] = 0
    settle(config, parts)
    run.save_config(config)
    source = {
        "weights": located.weights,
        "layout": loaded.layout,
        "sha256": sha256(located.file) if located.file else None,
    }
    with run.stage("write"):
        card = {
            "part": part,
            "architecture": loaded.architecture,
            "preprocessing": loaded.preprocessing and without_run_settings(loaded.preprocessing),
            "untrained": loaded.untrained,
            "source": source,
        }
        if loaded.training:
            card["training"] = loaded.training
        save(run.directory, tensors, card)
    run.record["weights"] = {part: source | {"untrained": loaded.untrained}}
    log.info("%s weights (%s) in our format; use them with %s.weights=%s", loaded.layout, part, part, run.directory)
    return 0
