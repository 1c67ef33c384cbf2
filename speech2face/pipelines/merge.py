"""`pipeline=merge`: put the results of all shards of a reconstruction together, as if one process had made them."""

import csv
import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speech2face.config.options import Merge
from speech2face.errors import UserError, counted
from speech2face.files import atomic
from speech2face.pipelines.shards import bounds
from speech2face.run.comparison import run_directories
from speech2face.run.record import Run, read_record
from speech2face.run.results import write_contact_sheet
from speech2face.run.table import EMBEDDINGS, merge_tables, rows_of

log = logging.getLogger(__name__)
NAMED = 8  # most shards that a message names
STATES = ("done", "failed", "passed_over")  # of inputs
Shard = tuple[Path, dict[str, Any]]  # directory and record of its run


def merge(options: Merge, run: Run) -> int:
    """Write results.csv, embeddings.parquet, the folders of the inputs and the contact sheet of all shards together.

    Nothing is written unless every shard is complete. Files are linked, so they take no more space. Returns 0, or 1 if
    any input failed or none is done.
    """
    if options.runs is None:
        raise UserError("pipeline=merge needs runs= the directory of a sweep over shards")
    with run.stage("find"):
        shards = find_shards(Path(options.runs).expanduser().absolute())
        tables = find_tables(shards)
    run.save_options(options)
    run.record["weights"] = shards[0][1]["weights"]
    run.record["shards"] = [str(directory) for directory, _ in shards]
    with run.stage("write"):
        counts = merge_results(run.directory, shards)
        if tables:
            merge_tables(run.directory, tables)
        if sum(counts.values()) > 1:
            write_contact_sheet(run.directory, counts["done"])
    run.save(counts=counts)
    told = ", ".join(f"{number} {status.replace('_', ' ')}" for status, number in counts.items() if number)
    log.info("%s, of %s: %s", told, counted(len(shards), "shard"), run.directory)
    return int(counts["failed"] > 0 or counts["done"] == 0)


def find_shards(directory: Path) -> list[Shard]:
    """The complete runs of all shards below a directory, in order.

    Raises UserError if there are none, if they are not of one run, and if one is missing, incomplete or there twice.
    """
    runs = [(one, read_record(one)) for one in run_directories(directory) if (one / "run.json").exists()]
    runs = [(one, record) for one, record in runs if "names" in record.get("part", {})]
    if not runs:
        raise UserError(f"runs={directory}: no shards there: no runs of pipeline=speech or pipeline=face with shard=")
    kinds = {}
    for one, record in runs:
        kind = tuple(value for key, value in record["part"].items() if key != "shard")
        kinds.setdefault(kind, one)
    if len(kinds) > 1:
        a, b, *_ = kinds.values()
        raise UserError(f"{a} and {b} are not shards of one run: their inputs, weights or options differ")
    shards, total = runs[0][1]["part"]["shards"], runs[0][1]["part"]["inputs"]
    found: dict[int, Shard] = {}
    for one, record in runs:
        shard, done = record["part"]["shard"], sum(record.get("counts", {}).get(key, 0) for key in STATES)
        start, end = bounds(shard, shards, total)
        if done != end - start or record["status"] not in ("finished", "failed"):
            continue
        if shard in found:
            raise UserError(f"runs={directory}: shard {shard} is there twice: {found[shard][0]} and {one}")
        found[shard] = one, record
    if missing := [shard for shard in range(shards) if shard not in found]:
        named = ", ".join(map(str, missing[:NAMED])) + (", ..." if len(missing) > NAMED else "")
        raise UserError(
            f"runs={directory}: {len(missing)} of {shards} shards are missing or not complete ({named}); "
            f"to do one: the command with shard={missing[0]} and resume=, or hydra.run.dir= a new directory there"
        )
    return [found[shard] for shard in range(shards)]


def find_tables(shards: list[Shard]) -> list[Path]:
    """The tables of embeddings of the shards; none if the run writes none.

    Raises UserError if one is missing, cannot be read, or has not as many rows as inputs of its shard are done.
    """
    tables = {one / EMBEDDINGS: record["counts"]["done"] for one, record in shards if record["counts"]["done"]}
    if not any(file.exists() for file in tables):
        return []
    for file, done in tables.items():
        if (rows := rows_of(file)) != done:
            raise UserError(f"{file}: {rows} embeddings, and run.json counts {done} inputs that are done")
    return list(tables)


def merge_results(directory: Path, shards: list[Shard]) -> dict[str, int]:
    """Write results.csv, and link the folders of the inputs. Returns the number of inputs by status.

    Raises UserError if the rows of a shard are not those that it has counted.
    """
    counts = dict.fromkeys(STATES, 0)
    with atomic(directory / "results.csv") as partial, open(partial, "wb") as file:
        for number, (one, record) in enumerate(shards):
            own = Counter(_states(one, directory))
            if wrong := [status for status in STATES if own[status] != record["counts"][status]]:
                told = f"{own[wrong[0]]} rows of results.csv are {wrong[0]}, and run.json counts"
                raise UserError(f"{one}: {told} {record['counts'][wrong[0]]}")
            for status in STATES:
                counts[status] += own[status]
            with open(one / "results.csv", "rb") as rows:
                head = rows.readline()
                if not number:
                    file.write(head)
                shutil.copyfileobj(rows, file)
    return counts


def _states(shard: Path, directory: Path) -> Iterator[str]:
    """The status of each row of a shard's results.csv. Links the folders of its inputs, if it has written folders."""
    with open(shard / "results.csv", newline="", encoding="utf-8", errors="surrogateescape") as stream:
        rows = csv.reader(stream)
        columns = next(rows)
        status, output = columns.index("status"), columns.index("output")
        folders = None
        for row in rows:
            if row[status] == "done" and folders is not False:
                folders = folders or (shard / row[output]).is_dir()
                if folders:
                    shutil.copytree(shard / row[output], directory / row[output], copy_function=_link)
            yield row[status]


def _link(source: str, target: str) -> None:
    """Link a file, or copy it to another file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
