"""Composed configuration -> checked options, and options -> configuration that repeats the run."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
from omegaconf import DictConfig, OmegaConf

from speech2face.config.describe import describe, is_union, unwrap
from speech2face.config.names import nearest
from speech2face.config.options import SCHEMAS, Options
from speech2face.errors import UserError
from speech2face.weights.part import Part

ADDED = ("slot", "option", "typed", "from_weights")  # fields of Part that are not options


def read(config: DictConfig, choices: dict[str, str], overrides: list[str]) -> Options:
    """Read a composed configuration into the options of its pipeline.

    choices: the option chosen in each group; the configuration of an earlier run contains its own choices, which win.
    overrides: as the user typed them, in Hydra's spelling. Raises UserError for unknown options and wrong values.
    """
    config = config.copy()
    OmegaConf.set_struct(config, False)
    if "preprocessing" in config:
        config = _of_version_0_1(config)
    config.choices = config.get("choices") or choices
    values = OmegaConf.to_container(config, resolve=True)
    if values.get("resume") == "???":
        values["resume"] = None
    name = (values.get("pipeline") or {}).get("name")
    if name not in SCHEMAS:
        raise UserError(f"pipeline={name}: must be one of {', '.join(SCHEMAS)}")
    schema = SCHEMAS[name]
    _check_names(schema, values)
    values = {key: value for key, value in values.items() if key in _hints(schema)}
    try:
        options = msgspec.convert(values, schema)
    except msgspec.ValidationError as error:
        raise UserError(_explain(str(error), schema, values)) from None
    described = {}
    for slot, part in parts(options).items():
        described[slot] = dataclasses.replace(
            part,
            slot=slot,
            option=_choice(options.choices, slot),
            typed=tuple(_typed(slot, overrides)),
            from_weights=options.from_weights,
        )
    return with_parts(options, described)


def _of_version_0_1(config: DictConfig) -> DictConfig:
    """Convert the configuration of a run of version 0.1, whose front end was beside the encoder.

    Raises UserError for the pipelines whose options had other names.
    """
    name = config.pipeline.name
    if name not in ("speech", "face"):
        raise UserError(f"this run of pipeline={name} was configured by version 0.1: type its command anew")
    config.encoder.preprocessing = config.preprocessing
    config.pipeline = {key: config.pipeline[key] for key in ("_target_", "name")}
    known = _hints(SCHEMAS[name])
    return OmegaConf.create({key: config[key] for key in config if key in known and key != "resume"})


def parts(options: Options) -> dict[str, Part]:
    """The parts in the options by slot: encoder, face, decoder, voices.NAME."""
    found: dict[str, Part] = {}
    for one in dataclasses.fields(options):
        value = getattr(options, one.name)
        if isinstance(value, Part):
            found[one.name] = value
        elif one.name == "voices":
            found |= {f"voices.{name}": part for name, part in value.items()}
    return found


def with_parts(options: Options, described: dict[str, Part], **changes: Any) -> Options:
    """Replace parts, by slot, and other fields of the options."""
    voices = {slot.removeprefix("voices."): part for slot, part in described.items() if slot.startswith("voices.")}
    changes |= {slot: part for slot, part in described.items() if "." not in slot} | (
        {"voices": voices} if voices else {}
    )
    return dataclasses.replace(options, **changes)


def freeze(options: Options) -> str:
    """The options as YAML (.hydra/effective.yaml) that repeats the run exactly and takes nothing from the weights.

    `python run.py -cd DIRECTORY/.hydra -cn effective` runs it.
    """
    values = msgspec.to_builtins(options)
    for slot in parts(options):
        node = values
        for key in slot.split("."):
            node = node[key]
        for key in ADDED:
            del node[key]
    values = _escaped(values) | {"from_weights": False, "resume": "???"}
    return "defaults:\n- settings\n- _self_\n" + OmegaConf.to_yaml(OmegaConf.create(values))


def _escaped(value: Any) -> Any:
    """Escape ${ in texts, at every depth, so that OmegaConf does not interpolate it."""
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(item) for item in value]
    if isinstance(value, Path):
        value = str(value)
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


def _choice(choices: dict[str, str], slot: str) -> str:
    return choices.get(slot) or choices.get(f"encoder@{slot}") or slot


def _typed(slot: str, overrides: list[str]) -> Iterator[str]:
    """The keys below a slot that the user typed. A front end that the user chose gives the key "preprocessing"."""
    for override in overrides:
        key = override.lstrip("+").partition("=")[0]
        if key == f"preprocessing@{slot}.preprocessing":
            yield "preprocessing"
        elif key.startswith(f"{slot}."):
            yield key.removeprefix(f"{slot}.")


def _hints(schema: type) -> dict[str, Any]:
    return get_type_hints(schema, include_extras=True)


def owners(name: str) -> list[str]:
    """The pipelines that have an option; of a dotted name, the first part counts."""
    return [pipeline for pipeline, schema in SCHEMAS.items() if name.partition(".")[0] in _hints(schema)]


def of_others(name: str, pipeline: str) -> str | None:
    """The message for an option that other pipelines have and this one has not, or None."""
    others = owners(name)
    if not others or pipeline in others:
        return None
    return f"pipeline={pipeline} has no such option; pipeline={', '.join(others)} {'have' if others[1:] else 'has'} it"


def _check_names(schema: type, values: dict[str, Any], prefix: str = "") -> None:
    """Raise UserError for a name that is not an option of `schema`, or of a dataclass in it."""
    hints = _hints(schema)
    for key, value in values.items():
        if key not in hints:
            if not prefix and key in ("encoder", "decoder", "prior", "data", "hydra"):
                continue  # some pipelines compose these groups without using them
            if not prefix and (foreign := of_others(key, values["pipeline"]["name"])):
                preset = values["choices"].get("debug")
                raise UserError((f"debug={preset} sets {key}: " if preset else f"{key}: ") + foreign)
            known = [f"{prefix}{name}" for name in hints if name not in ADDED]
            raise UserError(f"{prefix}{key}: there is no such option{nearest(prefix + key, known)}")
        inner, _ = unwrap(hints[key])
        if dataclasses.is_dataclass(inner) and isinstance(value, dict):
            _check_names(inner, value, f"{prefix}{key}.")
        elif key == "losses" and isinstance(value, dict):
            default = next(one for one in dataclasses.fields(schema) if one.name == key).default_factory
            for name in value.keys() - default().keys():
                known = [f"{prefix}{key}.{one}" for one in default()]
                raise UserError(f"{prefix}{key}.{name}: there is no such loss{nearest(f'{prefix}{key}.{name}', known)}")


def _explain(message: str, schema: type, values: dict[str, Any]) -> str:
    """Translate a message of msgspec to a line with the option, its value and the allowed values."""
    where = re.search(r"`\$(.*)`", message)
    path = re.findall(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]", where[1]) if where else []
    missing = re.search(r"missing required field `(\w+)`", message)
    value: Any = values
    hint: Any = schema
    dotted = []
    for name, index in path:
        inner, _ = unwrap(hint)
        if is_union(inner):
            inner = next(one for one in get_args(inner) if one is not type(None))
            inner, _ = unwrap(inner)
        if name and dataclasses.is_dataclass(inner):
            hint, value = _hints(inner)[name], value[name]
            dotted.append(name)
        elif index and get_args(inner):
            hint = get_args(inner)[-1]
            if not isinstance(value, dict):
                break
            key, value = next(((k, v) for k, v in value.items() if not _fits(v, hint)), (None, None))
            dotted.append(str(key))
    option = ".".join(dotted)
    if missing:
        option = ".".join([*dotted, missing[1]])
        return f"{option}: must be given"
    return f"{option}={'null' if value is None else value}: must be {describe(hint)}"


def _fits(value: object, hint: object) -> bool:
    try:
        msgspec.convert(value, hint)
    except msgspec.ValidationError:
        return False
    return True
