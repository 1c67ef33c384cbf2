"""Shards: the parts of a run that the jobs of a sweep work on."""

import dataclasses
import hashlib
import json
from typing import Any

import msgspec

from speech2face.config.base import Sharded
from speech2face.config.options import Evaluate, Reconstruct
from speech2face.errors import UserError
from speech2face.pipelines.choice import Chosen
from speech2face.pipelines.resume import SAMPLING, SHARED
from speech2face.preparation.sources import is_in_shard
from speech2face.run.inputs import Input
from speech2face.run.record import Run

Part = dict[str, Any]


def check_shard(options: Sharded) -> None:
    """Raise UserError for a shard that there is not."""
    if options.shard is not None and options.shard >= options.shards:
        raise UserError(f"shard={options.shard}: must be a whole number from 0 to {options.shards - 1} (shards - 1)")


def bounds(shard: int, shards: int, inputs: int) -> tuple[int, int]:
    """The first input of a shard and the first one after it. Shards are runs of neighbours, as equal as can be."""
    return inputs * shard // shards, inputs * (shard + 1) // shards


def inputs_of_shard(inputs: list[Input], options: Reconstruct) -> tuple[list[Input], Part | None]:
    """The inputs of options.shard and what is recorded of them, or all inputs and None without a shard.

    The record has shard, shards, the number of all inputs, and a digest of their names: shards belong together if they
    have found the same inputs.
    """
    if options.shard is None:
        return inputs, None
    names = hashlib.sha256()
    for one in inputs:
        names.update(one.file.encode(errors="surrogateescape") + b"\0")
    part = {"shard": options.shard, "shards": options.shards, "inputs": len(inputs), "names": names.hexdigest()}
    return inputs[slice(*bounds(options.shard, options.shards, len(inputs)))], part


def record_part(run: Run, part: Part | None, effective: Reconstruct) -> None:
    """Record the part of a run, with a digest of the options on which its results depend.

    Raises UserError if the run that is resumed had other inputs, because their order would then be another.
    """
    if run.earlier and "weights" in run.earlier:
        had = run.earlier.get("part")
        if any((had or {}).get(key) != (part or {}).get(key) for key in ("shard", "shards", "inputs", "names")):
            raise UserError(f"resume={run.directory}: that run had {_told(had)}, and this one has {_told(part)}")
    if part:
        values = msgspec.to_builtins(effective)
        shared = {key: values.get(key) for key in (*SHARED, *SAMPLING)}
        digest = hashlib.sha256(json.dumps(shared, sort_keys=True, default=str).encode()).hexdigest()
        run.record["part"] = part | {"options": digest}


def _told(part: Part | None) -> str:
    return "no shard" if part is None else f"shard {part['shard']} of {part['shards']} of {part['inputs']} inputs"


def people_of_shard(chosen: Chosen, options: Evaluate, run: Run) -> Chosen:
    """The chosen people who are in options.shard; all without a shard. Records the part."""
    if options.shard is None:
        return chosen
    run.record["part"] = {"shard": options.shard, "shards": options.shards}

    def own(people: list[str]) -> list[str]:
        return [person for person in people if is_in_shard(person, options.shard, options.shards)]

    queries = {person: chosen.queries[person] for person in own(list(chosen.queries))}
    return dataclasses.replace(chosen, people=own(chosen.people), training=own(chosen.training), queries=queries)
