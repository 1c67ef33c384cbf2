"""After a sweep: the results of its jobs on the same inputs, side by side."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from PIL import Image

from speech2face.config.names import short
from speech2face.errors import counted
from speech2face.files import atomic, csv_line
from speech2face.inference import pictures, sheets
from speech2face.run.results import read_results
from speech2face.run.table import reader

log = logging.getLogger(__name__)


class Comparison(Callback):
    """Hydra callback that writes comparison.png and comparison.csv, and exits with status 1 if a job failed."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        failed = 0
        try:
            directory = Path(config.hydra.sweep.dir)
            jobs = sorted(_jobs(directory), key=_number)
            records = [_record(job) for job in jobs]
            failed = sum(record["status"] != "finished" for record in records)
            labels = job_labels([record["overrides"] for record in records])
            if any((job / "metrics.json").exists() for job in jobs):
                compare_metrics(directory, jobs, labels, records)
            elif any(record.get("metrics") for record in records):
                compare_trainings(directory, labels, records)
            else:
                compare(directory, jobs, labels, records)
            found = counted(len(jobs), "job") + (f", {failed} failed" if failed else "")
            results = [directory / f"comparison.{kind}" for kind in ("png", "html", "csv")]
            log.info("%s: %s", found, next(filter(Path.exists, results), directory).absolute())
        except Exception:  # Hydra would warn of it and exit with status 0
            log.exception("defect: no comparison")
            failed += 1
        if failed:
            sys.exit(1)


def _jobs(directory: Path) -> Iterator[Path]:
    """Output directories of a sweep's jobs, at any depth, because hydra.sweep.subdir sets it."""
    for folder, subfolders, files in os.walk(directory):
        if ".hydra" in subfolders or {"run.json", "run.log"} & set(files):
            subfolders.clear()
            yield Path(folder)


def _number(job: Path) -> tuple[int, str]:
    return (int(job.name) if job.name.isdigit() else 10**9, job.name)


def _record(job: Path) -> dict[str, Any]:
    """The content of run.json, or what is known of a job that left none."""
    try:
        return json.loads((job / "run.json").read_text())
    except (OSError, ValueError):
        return {"status": "lost", "error": "the job left no run.json", "overrides": [f"job {job.name}"]}


def job_labels(overrides: list[list[str]]) -> list[str]:
    """A label for each job: its overrides in their short form, without those that all jobs share."""
    common = set.intersection(*map(set, overrides)) if overrides else set()
    return [", ".join(short(one) for one in job if one not in common) or "all the same" for job in overrides]


def compare(directory: Path, jobs: list[Path], labels: list[str], records: list[dict[str, Any]]) -> None:
    """Write comparison.csv and comparison.png of reconstructions: inputs down, jobs across.

    The table has, for every job, its status or error, and the cosine of its embedding and that of the first job that
    has an embedding of this input.
    """
    results = [{row["input"]: row for row in read_results(job)} for job in jobs]
    if not any(results) and all(record["status"] == "finished" for record in records):
        return  # a pipeline without reconstructions
    inputs = list(dict.fromkeys(name for rows in results for name in rows)) or [""]
    tables = [reader(job) for job in jobs]
    with atomic(directory / "comparison.csv") as partial, open(partial, "wb") as file:
        file.write(csv_line(["input", *labels, *(f"cosine {label}" for label in labels)]))
        for name in inputs:
            cells, cosines, first = [], [], None
            for table, rows, record in zip(tables, results, records, strict=True):
                row = rows.get(name)
                cells.append(_cell(row, record))
                embedding = table(row["sha256"]) if row and row["status"] == "done" else None
                if embedding is not None:
                    first = embedding if first is None else first
                    norm = float(np.linalg.norm(first) * np.linalg.norm(embedding))
                    cosines.append(f"{float(first @ embedding) / norm:.4f}" if norm else "")
                else:
                    cosines.append("")
            file.write(csv_line([name, *cells, *cosines]))
    shown = [name for name in inputs if any(rows.get(name, {}).get("status") != "passed_over" for rows in results)]
    above = os.path.commonpath([os.path.dirname(os.path.abspath(name)) for name in shown or [""]])
    table = [
        (
            os.path.relpath(name, above) if name else "",
            [original(jobs, [rows.get(name) for rows in results])]
            + [
                face
                if (row := rows.get(name))
                and row["status"] == "done"
                and (face := job / row["output"] / "face.png").exists()
                else _cell(row, record)
                for job, rows, record in zip(jobs, results, records, strict=True)
            ],
        )
        for name in shown[: sheets.ROWS]
    ]
    title = f"{counted(len(jobs), 'job')}, {counted(len(shown), 'input')}"
    title += f", the first {sheets.ROWS} shown" * (len(shown) > sheets.ROWS)
    if table:
        with atomic(directory / "comparison.png") as partial:
            sheets.table(table, ["input", *labels], title).save(partial, "PNG")


def original(jobs: list[Path], rows: list[dict[str, str] | None]) -> np.ndarray:
    """A picture of an input, from the panel of the first job that has one; white if there is none."""
    for job, row in zip(jobs, rows, strict=True):
        if row and row["status"] == "done" and (file := job / row["output"] / "panel.png").exists():
            with Image.open(file) as panel:
                return pictures.original(panel)
    return np.full((8, 8, 3), 255, np.uint8)


def compare_metrics(directory: Path, jobs: list[Path], labels: list[str], records: list[dict[str, Any]]) -> None:
    """Write comparison.csv (metrics down, jobs across) and comparison.html of evaluations, without failed jobs."""
    from speech2face.evaluation.comparison import compare

    files = [job / "metrics.json" for job in jobs]
    heads = [json.loads(file.read_text()) if file.exists() else {} for file in files]
    tables = [head.get("metrics", {}) for head in heads]
    names = list(dict.fromkeys(name for table in tables for name in table))
    parts = ("value", "low", "high", "chance", "ideal")
    with atomic(directory / "comparison.csv") as partial, open(partial, "wb") as file:
        columns = [label + ("" if part == "value" else f" {part}") for label in labels for part in parts]
        file.write(csv_line(["metric", *columns]))
        for name in names:
            numbers = [table.get(name, {}).get(part) for table in tables for part in parts]
            file.write(csv_line([name, *(None if number is None else f"{number:.6g}" for number in numbers)]))
    failed = [
        f"The job {label} {record['status']}: {record.get('error', 'not reached')}"
        for label, record, head in zip(labels, records, heads, strict=True)
        if not head
    ]
    compare(directory, jobs, labels, heads, failed)


def compare_trainings(directory: Path, labels: list[str], records: list[dict[str, Any]]) -> None:
    """Write comparison.csv of trainings: their metrics, as run.json has them, down, and jobs across."""
    tables = [record.get("metrics", {}) for record in records]
    with atomic(directory / "comparison.csv") as partial, open(partial, "wb") as file:
        file.write(csv_line(["metric", *labels]))
        for name in dict.fromkeys(name for table in tables for name in table):
            values = (table.get(name) for table in tables)
            file.write(csv_line([name, *(None if value is None else f"{value:.6g}" for value in values)]))


def _cell(row: dict[str, str] | None, record: dict[str, Any]) -> str:
    if row:
        return row["status"] if row["status"] == "done" else f"{row['status']}: {row['error']}"
    if record["status"] == "finished":
        return "not an input of this job"
    return f"job {record['status']}: {record.get('error', 'not reached')}"
