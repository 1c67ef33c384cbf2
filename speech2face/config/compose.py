"""Where the configuration is, and how Hydra composes it."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra import version
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from speech2face.config.names import canonical, nearest, short
from speech2face.config.options import SCHEMAS, Options
from speech2face.config.read import read
from speech2face.config.recipes import set_by_recipe
from speech2face.errors import UserError
from speech2face.weights.front_end import leaves

PACKAGE = Path(__file__).parents[1]
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"  # in a wheel, in a checkout


def store_defaults() -> None:
    """Give Hydra the defaults of every pipeline's options: conf/pipeline/NAME.yaml composes /options@_global_: NAME."""
    for name, schema in SCHEMAS.items():
        ConfigStore.instance().store(group="options", name=name, node=defaults(schema))


def defaults(schema: type) -> dict[str, Any]:
    """The fields of a dataclass of options that have a default, as plain data; options of groups are left out."""
    found = {}
    for one in dataclasses.fields(schema):
        if one.name in ("choices", "resume"):
            continue
        if one.name == "training":
            found[one.name] = defaults(one.type)
        elif one.default is not dataclasses.MISSING:
            found[one.name] = one.default
        elif one.default_factory is not dataclasses.MISSING:
            found[one.name] = one.default_factory()
    return found


def compose(overrides: list[str]) -> tuple[DictConfig, dict[str, str]]:
    """What `python run.py OVERRIDES` would run, and the option chosen in each group.

    Hydra's loader without its global state: it works within another Hydra application, and in threads.
    """
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.config_search_path_impl import ConfigSearchPathImpl

    version.setbase("1.3")
    Plugins.instance()
    path = ConfigSearchPathImpl()
    path.append("hydra", "pkg://hydra.conf")
    path.append("main", f"file://{CONF}")
    path.append("schema", "structured://")
    config = ConfigLoaderImpl(path).load_configuration("config", overrides, RunMode.RUN)
    choices = chosen(config.hydra.runtime.choices)
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    return config, choices


def chosen(choices: Mapping[str, str]) -> dict[str, str]:
    """The option chosen in each group of ours."""
    return {group: one for group, one in choices.items() if one and not group.startswith(("hydra/", "options@"))}


def options_of(*overrides: str) -> Options:
    """The options that `python run.py OVERRIDES` would run with. Raises UserError where it would end with an error."""
    typed = [canonical(one) for one in overrides]
    try:
        config, choices = compose(typed)
        return read(config, choices, [*set_by_recipe(choices.get("experiment"), [CONF]), *typed])
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error, typed)) from None


def explain(error: Exception, overrides: list[str]) -> str:
    """The message of an error of ours, Hydra's or OmegaConf's on one line, with the way out."""
    message = str(error).partition("Config search path")[0]
    if isinstance(error, OverrideParseException):
        if "=" not in error.override:
            option = "image" if any(one == "pipeline=face" for one in overrides) else "audio"
            hint = f"; an input is given by {option}={error.override}" if Path(error.override).exists() else ""
            message = f"{error.override}: an option is name=value{hint}"
        else:
            message = f"{error.override}: special characters need quotes inside quotes, as in \"audio='clip (1).wav'\""
    elif message.startswith("Could not override"):
        name = re.findall(r"'(.+?)'", message)[0]
        near = _nearest_option(name, overrides) or ": see python run.py --help"
        message = f"{short(name)}: there is no such option{near}"
    return " ".join(message.split())


def _nearest_option(name: str, overrides: list[str]) -> str:
    """The options nearest to one that does not exist, of the same command without it."""
    others = [one for one in overrides if one.lstrip("+~").partition("=")[0] != name]
    try:
        config, choices = compose(others)
    except (HydraException, OmegaConfBaseException):
        return ""
    return nearest(name, [*leaves(OmegaConf.to_container(config)), *choices])
