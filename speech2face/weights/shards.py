"""Sharded checkpoints of Hugging Face: several files of tensors, and an index that lists them."""

import json
import re
from pathlib import Path

from speech2face.errors import UserError

SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}(\.\w+)")
INDEX = ".index.json"


def index_of(path: Path) -> Path | None:
    """The index of a shard, which lies beside it, or `path` itself if that is an index; None for other files."""
    if path.name.endswith(INDEX):
        return path
    shard = SHARD.fullmatch(path.name)
    index = path.with_name(f"{shard[1]}{shard[2]}{INDEX}") if shard else path
    return index if shard and index.is_file() else None


def read_index(path: Path) -> dict[str, str]:
    """Read the index of a sharded checkpoint: the file name of the shard by name of the tensor.

    Raises UserError for a damaged index and for one that names files outside its directory.
    """
    try:
        entries = json.loads(path.read_text())["weight_map"]
        found = {str(tensor): str(shard) for tensor, shard in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not readable as the index of a sharded checkpoint ({error})") from None
    for shard in set(found.values()):
        if Path(shard).name != shard:
            raise UserError(f"{path}: {shard} is refused: a shard must be a file beside its index")
    return found


def shards_of(path: Path) -> tuple[Path, ...]:
    """The shards that an index lists, sorted by name. Raises UserError if one is missing or the index lists none."""
    shards = tuple(path.with_name(name) for name in sorted(set(read_index(path).values())))
    if missing := [one.name for one in shards if not one.is_file()]:
        raise UserError(f"{path}: its shards {', '.join(missing[:3])} are not there ({len(missing)} missing)")
    if not shards:
        raise UserError(f"{path}: lists no shards")
    return shards
