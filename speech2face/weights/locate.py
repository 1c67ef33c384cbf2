"""Where weights are: a path, or the id of a hub repository."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speech2face.errors import UserError, exists

OUR_TENSORS, OUR_CARD = "model.safetensors", "speech2face.json"
BUNDLED = Path(__file__).parent / "bundled"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
JSON_FILES = {"card": OUR_CARD, "config": "config.json", "feature_extractor": "preprocessor_config.json"}
TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
SUFFIXES = (".safetensors", *TORCH_SUFFIXES, ".h5")


@dataclass
class Located:
    """Weights as the user named them, the file with the tensors, and the JSON beside it, where there is one.

    file None: random weights. beside: "card" of our format; "config", "feature_extractor" of a Hugging Face directory.
    """

    weights: str
    file: Path | None = None
    beside: dict[str, Any] = field(default_factory=dict)


def locate(part: str, choice: str, weights: str | None) -> Located:
    """Find the weights of a part ("encoder" or "decoder"; choice: its option's name, for messages).

    Raises UserError when there is nothing to read.
    """
    option = f"{part}.weights"
    if weights is None:
        raise UserError(
            f"{part}={choice} has no weights: give {option}= a checkpoint or a hub id, or random to try things out"
        )
    weights = str(weights)
    if weights == "random":
        return Located(weights)
    path = Path(weights).expanduser()
    if weights == "bundled":
        path = BUNDLED / choice
        if not path.is_dir():
            kind = "decoder" if part == "decoder" else "encoder"
            cards = sorted(BUNDLED.glob(f"*/{OUR_CARD}"))
            with_weights = ", ".join(card.parent.name for card in cards if json.loads(card.read_text())["part"] == kind)
            raise UserError(
                f"{option}=bundled: none are bundled for {part}={choice}, only for {with_weights}; "
                "give a checkpoint, a hub id or random"
            )
    elif not exists(path) and HUB_ID.fullmatch(weights) and path.suffix not in SUFFIXES:
        path = fetch(weights, option)
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


def fetch(repository: str, option: str) -> Path:
    """The weights of a hub repository and their JSON, from the local cache or downloaded into it."""
    from huggingface_hub import snapshot_download

    patterns = [OUR_TENSORS, "pytorch_model.bin", "*.json"]
    try:
        return Path(snapshot_download(repository, allow_patterns=patterns))
    except Exception as error:  # huggingface_hub raises its own, requests' and the operating system's
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{option}={repository}: no such file, and not to be had from the hub ({reason})") from None
