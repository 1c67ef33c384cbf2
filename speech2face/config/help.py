"""The text of `--help`: pipelines and options from the dataclasses, the other groups from the files in conf/."""

import dataclasses
import textwrap
from pathlib import Path
from typing import get_type_hints

from speech2face.config.compose import CONF
from speech2face.config.describe import describe, unwrap
from speech2face.config.options import SCHEMAS, Options
from speech2face.weights.part import Part

WIDTH = 112
HEAD = """Speech2Face: reconstruct a face from a voice or from a photo, and compare the encoders that do it.

  python run.py pipeline=speech encoder=ast audio=clip.wav
  python run.py pipeline=face encoder=vgg_face image=photos/ encoder.weights=vgg.pt decoder.weights=decoder.pt
  python run.py -m pipeline=speech encoder=paper,ast audio=clips/
  python run.py pipeline=evaluate data.root=DIR encoder=ast

An option is name=value. With -m a value may be a list, and every combination runs: encoder=paper,ast.
python run.py pipeline=NAME --help shows the options of a pipeline.
"""
GROUPS = {
    "encoder": "voice and face encoders; in another slot of a pipeline: encoder@face=resnet",
    "preprocessing": "the front end of the encoder; weights bring the one that they were trained with",
    "decoder": "face decoders",
    "prior": "draw the embeddings of faces that a voice may belong to, for samples=",
    "data": "datasets: <person>/audios/**, <person>/images/**, people.csv, prepared/ below data.root=",
    "trainer": "the devices of a training",
    "logger": "trackers of a training or an evaluation; several: logger=[csv,mlflow]",
    "judge": "networks that look at drawn faces in pipeline=evaluate; several: judge=[dlib,age_gender]",
    "protocol": "published protocols of evaluation, with the figures that were published",
    "experiment": "recipes: all options of a run under one name",
    "debug": "short trainings that show whether something is wrong",
}
TAIL = """Weights (encoder.weights=, decoder.weights=, face.weights=)
  bundled, bundled/talkers (trained on simulated people), a file in our or in any published layout
  (docs/published_weights.md), a directory of ours or of Hugging Face's, a hub id (owner/name or owner/name@revision),
  or random: untrained, to try things out
  FILE::KEY takes one of several state dicts in a file, such as model.pt::ema
  encoder.init=WEIGHTS starts a training from these weights in all layers except the head; package:NAME/FILE is a file
  in an installed package

Inputs (audio=, image=)
  a file, a directory, a glob, or a list of these: "audio=[a.wav,clips/]"

Runs
  hydra.run.dir=DIR              where the results go (default outputs/<pipeline>/<date>/<time>)
  resume=DIR                     go on with the run or the sweep in that directory: the same command, and this
  -cd DIR/.hydra -cn effective   repeat the run in DIR; no other options are needed
  --cfg job                      show the configuration, without what the weights bring
  --dry-run                      show what would run, with the architecture and the front end of the weights
  -sc install=bash               print what makes the shell complete options: docs/outputs.md
  HYDRA_FULL_ERROR=1             show tracebacks"""


def help_text(arguments: list[str]) -> str:
    """The help page. With pipeline=NAME among the arguments it is that of the pipeline."""
    named = [one.partition("=")[2] for one in arguments if one.startswith("pipeline=")]
    if named and named[0] in SCHEMAS:
        return _pipeline_help(named[0], SCHEMAS[named[0]])
    parts = [
        HEAD,
        _group("pipeline", "the task of the run", {name: one.__doc__ or "" for name, one in SCHEMAS.items()}),
    ]
    parts += [_group(name, about, _files(name)) for name, about in GROUPS.items()]
    parts += ["Options of every pipeline", *_options(Options), "", TAIL]
    return "\n".join(parts)


def _files(group: str) -> dict[str, str]:
    """The options of a group, each with the first comment of its file."""
    files = sorted((CONF / group).glob("[!_]*.yaml"))
    return {file.stem: _first_comment(file) for file in files}


def _first_comment(file: Path) -> str:
    lines = [line[1:].strip() for line in file.read_text().splitlines() if line.startswith("#")]
    return next((line for line in lines if not line.startswith("@package")), "")


def _group(name: str, about: str, options: dict[str, str]) -> str:
    lines = [f"({name}=) {about}"]
    lines += [line for option, text in options.items() for line in _entry(option, text)]
    return "\n".join([*lines, ""])


def _entry(name: str, text: str, column: int = 26) -> list[str]:
    lines = textwrap.wrap(text, WIDTH - column) or [""]
    first = f"  {name:<{column - 3}} " if len(name) < column - 2 else f"  {name}\n{'':{column}}"
    return [first + lines[0], *(" " * column + line for line in lines[1:])]


def _pipeline_help(name: str, schema: type[Options]) -> str:
    lines = [f"pipeline={name}: {schema.__doc__}", "", *_options(schema), *_part_options(schema)]
    return "\n".join([*lines, "", "python run.py --help shows the groups."])


def _options(schema: type, prefix: str = "") -> list[str]:
    """The lines of the options of a dataclass, without its parts: name, description, range and default."""
    lines = []
    hints = get_type_hints(schema, include_extras=True)
    for one in dataclasses.fields(schema):
        inner, meta = unwrap(hints[one.name])
        if one.name in ("pipeline", "choices") or inner is Part or (one.name == "resume" and not schema.resumable):
            continue
        if dataclasses.is_dataclass(inner):
            lines += _options(inner, f"{prefix}{one.name}.")
            continue
        text = f"{meta.description if meta else ''} ({describe(hints[one.name])}{_default(one)})"
        lines += _entry(f"{prefix}{one.name}=", text, 30)
    return lines


def _part_options(schema: type[Options]) -> list[str]:
    """The lines of the options of a pipeline's parts, each once with the slots that have it."""
    slots = [name for name, hint in get_type_hints(schema).items() if hint is Part]
    encoders = [slot for slot in slots if slot not in ("decoder", "prior")]
    having = {"weights": slots, "model": slots, "preprocessing": encoders}
    having["init"] = [slot for slot in encoders if slot == schema.trained]
    lines = []
    for name, hint in get_type_hints(Part, include_extras=True).items():
        if having.get(name):
            names = ", ".join(f"{slot}.{name}=" for slot in having[name])
            lines += _entry(names, f"{unwrap(hint)[1].description} ({describe(hint)})", 30)
    return lines


def _default(one: dataclasses.Field) -> str:
    value: object = one.default
    if one.default_factory is not dataclasses.MISSING:
        value = one.default_factory()
    if value is dataclasses.MISSING:
        return ""
    if isinstance(value, bool) or value is None:
        value = {True: "true", False: "false", None: "null"}[value]
    return f"; {value}"
