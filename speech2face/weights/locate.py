"""Locate weights: bundled, at a path, or in a hub repository."""

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from speech2face.errors import UserError, exists
from speech2face.files import sha256
from speech2face.weights.part import Part

OUR_TENSORS, OUR_CARD = "model.safetensors", "speech2face.json"
BUNDLED = Path(__file__).parent / "bundled"
HUB_ID = re.compile(r"([\w.-]+/[\w.-]+?)(?:@([\w./-]+))?")
JSON_FILES = {"card": OUR_CARD, "config": "config.json", "feature_extractor": "preprocessor_config.json"}
TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
SUFFIXES = (".safetensors", *TORCH_SUFFIXES, ".h5")


@dataclass
class Located:
    """The weights of a part and the files that hold them.

    weights: as the user named them. file: with the tensors; None: random weights.
    beside: the JSON files beside it: "card" of our format; "config", "feature_extractor" of a Hugging Face directory.
    """

    weights: str
    file: Path | None = None
    beside: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str | None:
        """SHA-256 of the file; None for random weights."""
        return sha256(self.file) if self.file else None

    @property
    def absolute(self) -> str:
        """The name of the weights with a path made absolute, so that it is valid in any working directory."""
        path = Path(self.weights).expanduser()
        return str(path.absolute()) if self.file and self.weights != "bundled" and exists(path) else self.weights


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
    """Find the file of `weights`: bundled, a path or a hub id. Raises UserError if there is none.

    option: the name of the option, for messages.
    """
    path = Path(weights).expanduser()
    hub_id = HUB_ID.fullmatch(weights)
    if weights == "bundled":
        path = BUNDLED / part.option
        if not path.is_dir():
            cards = sorted(BUNDLED.glob(f"*/{OUR_CARD}"))
            kinds = {card.parent.name: json.loads(card.read_text())["part"] for card in cards}
            bundled = ", ".join(name for name, kind in kinds.items() if kind == part.kind)
            raise UserError(
                f"{option}=bundled: none are bundled for {part.slot}={part.option}, only for {bundled}; "
                "give a checkpoint, a hub id or random"
            )
    elif not exists(path) and hub_id and path.suffix not in SUFFIXES:
        path = fetch(*hub_id.groups(), option)
    if not exists(path):
        raise UserError(f"{option}={weights}: no such file or directory, nor the id (owner/name) of a hub repository")
    if path.is_dir():
        found = [path / name for name in (OUR_TENSORS, "pytorch_model.bin") if (path / name).exists()]
        if not found:
            raise UserError(f"{option}={weights}: a directory without {OUR_TENSORS} or pytorch_model.bin")
        path = found[0]
    elif path.suffix not in SUFFIXES:
        raise UserError(f"{option}={weights}: weights are read from {', '.join(SUFFIXES)} or a directory of ours")
    located = Located(weights, path)
    for key, name in JSON_FILES.items():
        beside = path.with_name(name)
        if path.name in (OUR_TENSORS, "pytorch_model.bin") and beside.exists():
            try:
                located.beside[key] = json.loads(beside.read_text())
            except (ValueError, OSError) as error:
                raise UserError(f"{beside}: not readable as JSON ({error})") from None
            if not isinstance(located.beside[key], dict):
                raise UserError(f"{beside}: not the JSON of a description")
    return located


def fetch(repository: str, revision: str | None, option: str) -> Path:
    """Download the weights of a hub repository and their JSON files into the local cache, unless they are there."""
    from huggingface_hub import snapshot_download

    patterns = [OUR_TENSORS, "pytorch_model.bin", "*.json"]
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
    except Exception as error:  # huggingface_hub raises its own exceptions, those of requests, and OSError
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        name = f"{repository}@{revision}" if revision else repository
        raise UserError(f"{option}={name}: no such file, and not available from the hub ({reason})") from None
