"""Locate weights: bundled, in an installed package, at a path, or in a hub repository."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from speech2face.errors import UserError, dead_link, exists
from speech2face.files import sha256
from speech2face.weights.formats import SUFFIXES, format_of
from speech2face.weights.part import Part
from speech2face.weights.shards import INDEX, index_of, shards_of

OUR_TENSORS, OUR_CARD = "model.safetensors", "speech2face.json"
BUNDLED = Path(__file__).parent / "bundled"
HUB_ID = re.compile(r"([\w.-]+/[\w.-]+?)(?:@([\w./-]+))?")
JSON_FILES = {"card": OUR_CARD, "config": "config.json", "feature_extractor": "preprocessor_config.json"}
# What a directory of weights is known by, in this order. An index lists the files of a sharded checkpoint.
TENSORS = (OUR_TENSORS, f"{OUR_TENSORS}.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
TENSORS += ("embedding_model.ckpt",)  # SpeechBrain's
FETCHED = (OUR_TENSORS, "model-*-of-*.safetensors", "pytorch_model.bin", "pytorch_model-*-of-*.bin", "*.json")
FETCHED += ("embedding_model.ckpt",)
KEY = "::"  # between a file and the key of a state dict in it
PACKAGE = "package:"  # before the name of an installed package and a file in it: package:NAME/FILE


@dataclass
class Located:
    """The weights of a part and the files that hold them.

    weights: as the user named them. file: with the tensors, or the index of `shards`; None: random weights.
    key: of the state dict in the file that the user chose, as in FILE::KEY; None: the one that fits.
    beside: the JSON files beside it: "card" of our format; "config", "feature_extractor" of a Hugging Face directory.
    """

    weights: str
    file: Path | None = None
    shards: tuple[Path, ...] = ()
    key: str | None = None
    beside: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str | None:
        """SHA-256 of the file, or of all shards one after another; None for random weights."""
        if not self.shards:
            return sha256(self.file) if self.file else None
        digest = hashlib.sha256()
        for shard in self.shards:
            with shard.open("rb") as file:
                while block := file.read(1 << 22):
                    digest.update(block)
        return digest.hexdigest()

    @property
    def absolute(self) -> str:
        """The name of the weights with a path made absolute, so that it is valid in any working directory."""
        chosen = "" if self.key is None else f"{KEY}{self.key}"
        path = Path(self.weights.removesuffix(chosen)).expanduser()
        return f"{path.absolute()}{chosen}" if self.file and exists(path) else self.weights


def locate(part: Part) -> Located:
    """Find the weights of a part. Raises UserError if the part names none, or if they cannot be found."""
    if part.weights is None:
        raise UserError(
            f"{part.slot}={part.option} has no weights: give {part.slot}.weights= a checkpoint or a hub id, "
            "or random to try things out"
        )
    if part.weights == "random":
        return Located("random")
    return find(part.weights, f"{part.slot}.weights", part)


def find(weights: str, option: str, part: Part) -> Located:
    """Find the file of `weights`: bundled, package:NAME/FILE, or a path or a hub id, with or without ::KEY.

    option: the name of the option, for messages. Raises UserError if there is no file, or none that can be read.
    """
    name, key = weights, None
    if KEY in weights and not exists(Path(weights).expanduser()):
        name, _, key = weights.rpartition(KEY)
    path = Path(name).expanduser()
    hub_id = HUB_ID.fullmatch(name)
    if weights.split("/")[0] == "bundled" and not exists(path):
        path = _bundled(weights, option, part)
    elif weights.startswith(PACKAGE):
        path = _in_package(weights, option)
    elif not exists(path) and not dead_link(path) and hub_id and path.suffix.lower() not in SUFFIXES:
        path = fetch(*hub_id.groups(), option)
    if not exists(path):
        problem = dead_link(path) or "no such file or directory, nor the id (owner/name) of a hub repository"
        raise UserError(f"{option}={weights}: {problem}")
    path = _file(path, f"{option}={weights}", option)
    shards = shards_of(path) if path.name.endswith(INDEX) else ()
    for file in shards or (path,):
        format_of(file)
    return Located(weights, path, shards, key, _beside(path))


def _bundled(weights: str, option: str, part: Part) -> Path:
    """The directory of bundled weights, or of bundled/FOLDER. Raises UserError if the part has none."""
    path = BUNDLED / weights.partition("/")[2] / part.option
    if (path / OUR_CARD).exists():
        return path
    found = []
    for card in sorted(BUNDLED.rglob(OUR_CARD)):
        folder = card.parent.parent.relative_to(BUNDLED).parts
        if json.loads(card.read_text())["part"] == part.kind:
            found.append(f"{card.parent.name} ({'/'.join(('bundled', *folder))})")
    raise UserError(
        f"{option}={weights}: none are bundled for {part.slot}={part.option}, only for {', '.join(found)}; "
        "give a checkpoint, a hub id or random"
    )


def _in_package(weights: str, option: str) -> Path:
    """The path of package:NAME/FILE, without importing the package. Raises UserError if it is not installed."""
    name, _, file = weights.removeprefix(PACKAGE).partition("/")
    spec = find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"{option}={weights}: the package {name} is not installed: see docs/published_weights.md")
    return Path(spec.submodule_search_locations[0]) / file


def _file(path: Path, named: str, option: str) -> Path:
    """The file of tensors, or the index of the shards, that a path stands for. named: the option, for messages.

    The directory of a training by this project, or `weights` in it, stands for its best weights.
    """
    if path.is_dir():
        for directory in (path, path / "weights" / "best", path / "best"):
            if found := next((directory / name for name in TENSORS if exists(directory / name)), None):
                return found
    if path.name in ("checkpoints", "best.ckpt", "last.ckpt"):  # what a training by this project writes
        training = path.parent if path.is_dir() else path.parent.parent
        kept = [training / "weights" / one for one in dict.fromkeys((path.stem, "best", "last"))]
        if usable := [one for one in kept if (one / OUR_TENSORS).exists()]:
            raise UserError(f"{named}: the state of a training, to go on with it; its weights: {option}={usable[0]}")
    if not path.is_dir():
        return index_of(path) or path
    files = sorted(one.name for one in path.iterdir() if one.suffix.lower() in SUFFIXES)
    there = f"; name one of the files there: {', '.join(files[:5])}" if files else ""
    raise UserError(f"{named}: a directory without {OUR_TENSORS} or pytorch_model.bin, whole or with the index of its "
                    f"shards, and not that of a training (weights/best){there}")  # fmt: skip


def _beside(path: Path) -> dict[str, Any]:
    """The JSON files beside a file with one of the names in TENSORS, by their keys in JSON_FILES."""
    beside: dict[str, Any] = {}
    for key, name in JSON_FILES.items():
        file = path.with_name(name)
        if path.name in TENSORS and file.exists():
            beside[key] = read_json(file)
    return beside


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds a mapping. Raises UserError for another."""
    try:
        content = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: not the JSON of a description")
    return content


def fetch(repository: str, revision: str | None, option: str, patterns: Sequence[str] = FETCHED) -> Path:
    """Download the files of a hub repository that match `patterns` into the local cache, unless they are there."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(patterns)))
    except Exception as error:  # huggingface_hub raises its own exceptions, those of requests, and OSError
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        name = f"{repository}@{revision}" if revision else repository
        raise UserError(f"{option}={name}: no such file, and not available from the hub ({reason})") from None
