"""Compose the configuration with Hydra."""

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
from omegaconf.errors import GrammarParseError, InterpolationResolutionError, OmegaConfBaseException

from speech2face.config.names import canonical, nearest, short
from speech2face.config.options import SCHEMAS, Options
from speech2face.config.read import of_others, owners, read
from speech2face.config.recipes import set_by_recipe
from speech2face.data.media import kind_of
from speech2face.errors import UserError, extra
from speech2face.weights.front_end import leaves

PACKAGE = Path(__file__).parents[1]
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"  # in a wheel, in a checkout


def store_defaults() -> None:
    """Store the defaults of every pipeline's options in Hydra, as the group `options`.

    conf/pipeline/NAME.yaml composes them by /options@_global_: NAME.
    """
    for name, schema in SCHEMAS.items():
        ConfigStore.instance().store(group="options", name=name, node=defaults(schema))


def defaults(schema: type) -> dict[str, Any]:
    """The defaults of a dataclass of options, as plain data. Fields without a default, such as groups, are left out."""
    found = {}
    for one in dataclasses.fields(schema):
        if one.name in ("choices", "resume"):
            continue
        if one.name in ("training", "sweep"):
            found[one.name] = defaults(one.type)
        elif one.default is not dataclasses.MISSING:
            found[one.name] = one.default
        elif one.default_factory is not dataclasses.MISSING:
            found[one.name] = one.default_factory()
    return found


def compose(overrides: list[str]) -> tuple[DictConfig, dict[str, str]]:
    """Compose the configuration of `python run.py OVERRIDES`. Returns it and the option chosen in each group.

    This uses Hydra's loader without its global state, so it works within another Hydra application and in threads.
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
    """The option chosen in each group of this project, without Hydra's own groups."""
    return {group: one for group, one in choices.items() if one and not group.startswith(("hydra/", "options@"))}


def options_of(*overrides: str) -> Options:
    """The options of `python run.py OVERRIDES`. Raises UserError where that command would end with an error."""
    typed = [canonical(one) for one in overrides]
    try:
        config, choices = compose(typed)
        return read(config, choices, [*set_by_recipe(choices.get("experiment"), [CONF]), *typed])
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error, typed)) from None


def explain(error: Exception, overrides: list[str]) -> str:
    """The message of a UserError or of an exception of Hydra or OmegaConf, on one line and with the way out."""
    message = str(error).partition("Config search path")[0]
    if isinstance(error, OverrideParseException):
        if "=" not in error.override:
            message = f"{error.override}: an option is name=value{_value_hint(error.override, overrides)}"
        else:
            message = f"{error.override}: special characters need quotes inside quotes, as in \"audio='clip (1).wav'\""
            message += "; ${ is written \\${" if "${" in error.override else ""
    elif isinstance(error, GrammarParseError | InterpolationResolutionError):
        option = f"{short(error.full_key)}: " if error.full_key else ""
        message = (
            f"{option}{message.splitlines()[0]}; ${{...}} stands for the value of an option, "
            "and a name with these characters is written with \\${ in quotes"
        )
    elif plugin := re.search(r"Could not find 'hydra/(launcher|sweeper)/(ray|submitit|joblib|optuna)", message):
        needed = extra("cluster" if plugin[1] == "launcher" else "search")
        message = f"hydra/{plugin[1]}={plugin[2]} needs its package: {needed}"
    elif message.startswith("Could not override"):
        name = re.findall(r"'(.*?)'", message)[0]
        message = f"{short(name)}: {_no_such_option(name, overrides)}"
    return " ".join(message.split())


def _value_hint(word: str, overrides: list[str]) -> str:
    """How to write what a word without = may mean: an option whose value follows, or an input."""
    following = overrides[overrides.index(word) + 1 :] if word in overrides else []
    if following and "=" not in following[0] and owners(word):
        return f", as in {word}={following[0]}"
    kind = kind_of(word).partition("/")[0]
    if kind not in ("audio", "video", "image") and not Path(word).exists():
        return ""
    option = "image" if "pipeline=face" in overrides else "audio"
    if kind == "image":
        option = "image" if "pipeline=face" in overrides else "pipeline=face image"
    value = word if re.fullmatch(r"[\w./-]+", word) else f"\"'{word}'\""
    return f"; an input is given by {option}={value}"


def _no_such_option(name: str, overrides: list[str]) -> str:
    """Why an option does not exist, with the options or the pipelines that the user may mean."""
    others = [one for one in overrides if one.lstrip("+~").partition("=")[0] != name]
    try:
        config, choices = compose(others)
    except (HydraException, OmegaConfBaseException):
        return "there is no such option: see python run.py --help"
    near = nearest(name, [*leaves(OmegaConf.to_container(config)), *choices])
    if not near and (foreign := of_others(name, config.pipeline.name)):
        return foreign
    return f"there is no such option{near or ': see python run.py --help'}"
