"""Configuration -> pipeline: weights found, loaded, and asked what they bring."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from speech2face.errors import UserError, exists
from speech2face.weights.locate import Located, locate

log = logging.getLogger(__name__)
CONF = Path(__file__).parents[1] / "conf"
PARTS = ("encoder", "decoder")
GROUPS = ("pipeline", "data", "preprocessing", *PARTS)
TAKES = {"speech": "a voice", "face": "a photo"}


def compose_config(overrides: list[str]) -> DictConfig:
    """The configuration that `python run.py OVERRIDES` would run; within a run, with its -cd directory."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    sources = HydraConfig.get().runtime.config_sources if HydraConfig.initialized() else []
    users = [source.path for source in sources if source.schema == "file" and Path(source.path) != CONF]
    if users:
        overrides = [*overrides, "hydra.searchpath=[" + ",".join(f"'file://{path}'" for path in users) + "]"]
    outer, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None  # within run.py there is one already
    try:
        # The name is that of the log, run.log: later jobs of a sweep would have another.
        with initialize_config_dir(str(CONF), job_name="run", version_base="1.3"):
            config = compose("config", overrides, return_hydra_config=True)
    finally:
        GlobalHydra.instance().hydra = outer
    OmegaConf.set_struct(config, False)
    choose(config, config.pop("hydra").runtime.choices)
    return config


def choose(config: DictConfig, choices: dict[str, str]) -> None:
    """Note the option chosen in each group, unless a run that is repeated has done so."""
    config.choices = config.choices or {group: choices[group] for group in GROUPS}


def check(config: DictConfig) -> None:
    """Refuse numbers that are none, and an encoder of another modality than the pipeline's, naming those that fit."""
    for option, least in (("seed", 0), ("batch_size", 1), ("workers", 1)):
        check_whole(option, config[option], least)
    wanted, has = config.pipeline.get("modality", config.encoder.modality), config.encoder.modality
    if wanted != has:
        options = sorted(file.stem for file in (CONF / "encoder").glob("*.yaml"))
        fit = [name for name in options if compose_config([f"encoder={name}"]).encoder.modality == wanted]
        raise UserError(
            f"encoder={config.choices.encoder} takes {TAKES[has]}, but pipeline={config.pipeline.name} gives it "
            f"{TAKES[wanted]}; those that fit: {', '.join(fit)}"
        )


def check_whole(option: str, value: Any, least: int) -> None:
    """Raise UserError for what is not a whole number from `least` on."""
    if type(value) is not int or not least <= value < 2**63:
        raise UserError(f"{option}={value}: must be a whole number, at least {least}")


def locate_parts(config: DictConfig, parts: tuple[str, ...] = PARTS) -> dict[str, Located]:
    """Where each part's weights are. Raises UserError, before anything heavy is imported, where there are none."""
    return {part: locate(part, config.choices[part], config[part].weights) for part in parts}


def load_part(config: DictConfig, part: str, located: Located, overrides: list[str]) -> Any:
    """Load a part on its weights, and write the architecture that they settled into the configuration."""
    import torch

    from speech2face.weights.load import load

    torch.manual_seed(config.seed)
    architecture = config_dict(config[part].model)
    if config.from_weights:
        own = explicit(config[part].model, f"{part}.model", overrides)
    else:
        own = {key: value for key, value in architecture.items() if key != "_target_"}
    trusted = {value for key, value in leaves(config_dict(config.preprocessing)).items() if key.endswith("_target_")}
    loaded = load(part, config.choices[part], architecture, located, own, trusted)
    for key, value in own.items():
        if config.from_weights and key in loaded.brought and loaded.brought[key] != value:
            log.warning("%s.model.%s=%s wins over %s, which the weights bring", part, key, value, loaded.brought[key])
    config[part].model = loaded.architecture
    return loaded


def settle(config: DictConfig, located: dict[str, Located]) -> None:
    """Make a configuration whose weights are loaded one that can be repeated: from anywhere, exactly as it now is."""
    config.from_weights = False
    config.resume = "???"
    for part, one in located.items():
        if one.file and one.weights != "bundled" and exists(Path(one.weights).expanduser()):
            config[part].weights = str(Path(one.weights).expanduser().absolute())


def config_dict(node: DictConfig) -> dict[str, Any]:
    return OmegaConf.to_container(node, resolve=True)


def explicit(node: DictConfig, prefix: str, overrides: list[str]) -> dict[str, Any]:
    """What the user set below `prefix` on the command line: key, with dots, to value."""
    typed = [override.lstrip("+").partition("=")[0] for override in overrides]
    keys = [key.removeprefix(f"{prefix}.") for key in typed if key.startswith(f"{prefix}.")]
    if prefix in typed:  # a whole mapping
        keys += [key for key in node if key != "_target_"]
    values = {key: OmegaConf.select(node, key) for key in keys}
    return {
        key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value for key, value in values.items()
    }


def settle_preprocessing(config: DictConfig, brought: dict[str, Any] | None, overrides: list[str]) -> None:
    """Put the front end that the encoder's weights bring into the configuration, unless the user set another."""
    if not config.from_weights or brought is None:
        return
    configured = config_dict(config.preprocessing)
    settled = merge(configured, brought)
    chosen = [override for override in overrides if override.lstrip("+").startswith("preprocessing=")]
    if chosen:
        if settled != configured:
            log.warning("%s wins over the front end that the weights were trained with", chosen[-1])
        return
    result = OmegaConf.create(settled)
    for key, value in explicit(config.preprocessing, "preprocessing", overrides).items():
        theirs = OmegaConf.select(OmegaConf.create(brought), key)
        if theirs is not None and theirs != value:
            log.warning("preprocessing.%s=%s wins over %s, which the weights bring", key, value, theirs)
        OmegaConf.update(result, key, value, force_add=True)
    before = leaves(configured)
    for key, value in leaves(config_dict(result)).items():
        if before.get(key, value) != value:
            log.info("the weights bring preprocessing.%s=%s", key, value)
    config.preprocessing = result


def leaves(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested dictionaries by their dotted keys."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`changes` over `base`, at every depth; an object of another class replaces the one it meets whole."""
    if changes.get("_target_", base.get("_target_")) != base.get("_target_"):
        return deepcopy(changes)
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def build_reconstructor(
    config: DictConfig,
    located: dict[str, Located],
    overrides: list[str],
    stage: Callable[[str], AbstractContextManager[Any]] = lambda name: nullcontext(),
) -> tuple[Any, dict[str, Any]]:
    """Build the pipeline that `config` describes; what the weights settle is written back into `config`.

    Returns the Reconstructor and the loaded parts by name.
    """
    from speech2face.reconstructor import Reconstructor

    preprocessing, encoder = build_encoder(config, located["encoder"], overrides)
    decoder = load_part(config, "decoder", located["decoder"], overrides)
    parts = {"encoder": encoder, "decoder": decoder}
    warn_untrained(parts)
    reconstructor = Reconstructor(preprocessing, encoder.model, decoder.model, stage=stage, **how_to_run(config))
    return reconstructor.lower(), parts


def how_to_run(config: DictConfig) -> dict[str, Any]:
    """Device, precision and batch size, as a Reconstructor takes them."""
    return {"device": str(config.device), "precision": config.precision, "batch_size": config.batch_size}


def how_encoded(config: DictConfig) -> dict[str, Any]:
    """Encoder and front end, by which features are told apart."""
    return {"model": config_dict(config.encoder.model), "preprocessing": config_dict(config.preprocessing)}


def build_encoder(config: DictConfig, located: Located, overrides: list[str]) -> tuple[Any, Any]:
    """The encoder on its weights, and its front end: returns (preprocessing, loaded encoder)."""
    from hydra.utils import instantiate

    encoder = load_part(config, "encoder", located, overrides)
    settle_preprocessing(config, encoder.preprocessing, overrides)
    try:
        preprocessing = instantiate(config.preprocessing)
    except Exception as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError | TypeError | ValueError):
            raise UserError(str(cause) if isinstance(cause, UserError) else f"preprocessing: {cause}") from None
        raise
    if preprocessing.modality != config.encoder.modality:
        raise UserError(f"preprocessing={config.choices.preprocessing} is not for encoder={config.choices.encoder}")
    return preprocessing, encoder


def describe_weights(choice: str, located: Located, loaded: Any, digest: str | None) -> dict[str, Any]:
    """What run.json says of a part's weights. choice: its option; digest: SHA-256 of the file."""
    return {
        "choice": choice,
        "weights": located.weights,
        "file": str(located.file) if located.file else None,
        "sha256": digest,
        "layout": loaded.layout,
        "untrained": loaded.untrained,
    }


def warn_untrained(parts: dict[str, Any]) -> None:
    """Say which loaded parts have random weights."""
    untrained = [part for part, loaded in parts.items() if loaded.untrained]
    if untrained:
        log.warning("UNTRAINED: random weights in the %s; the faces mean nothing", " and the ".join(untrained))
