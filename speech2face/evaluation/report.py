"""Files of an evaluation: report.html, metrics.json, metrics.csv, queries.csv, plots.png, gallery.png and tables."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from speech2face.data.parquet import write_embeddings
from speech2face.evaluation import gallery, page, summary
from speech2face.evaluation.estimator import Metric
from speech2face.evaluation.evaluation import Evaluation, Material
from speech2face.evaluation.paired import write_values
from speech2face.evaluation.plots import plot
from speech2face.evaluation.retrieval import DISTANCES
from speech2face.evaluation.statistics import of_kind, resampled
from speech2face.evaluation.summary import Asked
from speech2face.files import atomic, csv_line
from speech2face.inference.page import drawn, picture_data, plot_data, render

Row = dict[str, float | None]  # of the table of metrics, by column

# First parts of the names of the metrics that are compared in a sweep.
HEADLINES = (
    *("retrieval/cosine/all", "embedding/", "estimate/", "face/", "craniofacial/mean", "consistency", "face_to_face"),
    *("judge/", "association/", "calibration/"),
)
COLUMNS = (
    *("value", "low", "high", "chance", "ideal", "ideal_low", "ideal_high"),
    *("of_ideal", "of_ideal_low", "of_ideal_high", "traits"),
)
TABLED = 50_000  # most rows of embeddings.parquet, 0.8 GB
GROUP = 1024  # rows of a row group


def table(evaluation: Evaluation, samples: int = 1000) -> dict[str, Row]:
    """Rows of all metrics of the encoder, by name: COLUMNS, None where undefined.

    value, low, high, chance: of the encoder. ideal, ideal_low, ideal_high: value and interval of the ideal observer.
    of_ideal: (value - chance) / (ideal - chance), None if chance lies within the ideal observer's interval, and the
    bounds of its interval, for HEADLINES. traits: value of the observer of shared traits. samples: of the bootstrap.
    """
    outcomes = evaluation.outcomes
    rows = {}
    for name, own in outcomes["encoder"].metrics.items():
        ideal, traits = (outcomes[one].metrics.get(name) if one in outcomes else None for one in ("ideal", "traits"))
        row = {key: getattr(own, key) for key in ("value", "low", "high", "chance")}
        row |= {"ideal": ideal and ideal.value, "ideal_low": ideal and ideal.low, "ideal_high": ideal and ideal.high}
        above_chance = ideal and not ideal.low <= own.chance <= ideal.high
        share = (own.value - own.chance) / (ideal.value - own.chance) if above_chance else None
        bounds = share_interval(own, ideal, samples) if above_chance and name.startswith(HEADLINES) else (None, None)
        row |= {"of_ideal": share, "of_ideal_low": bounds[0], "of_ideal_high": bounds[1]}
        row["traits"] = traits and traits.value
        rows[name] = {key: None if value is None or np.isnan(value) else value for key, value in row.items()}
    return rows


def share_interval(own: Metric, ideal: Metric, samples: int) -> tuple[float | None, float | None]:
    """The 95 % interval of of_ideal: encoder and ideal observer are resampled with the same people."""
    if own.statistic is None or ideal.statistic is None:
        return None, None
    n = len(own.people)
    parts = (of_kind(one.statistic.kind, one.statistic.columns) for one in (own, ideal))
    first, second = parts

    def share(weights: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return (first(weights[:, :n]) - own.chance) / (second(weights[:, n:]) - own.chance)

    _, values = resampled(share, np.concatenate([own.people, ideal.people]), samples)
    values = values[np.isfinite(values)]
    return tuple(np.percentile(values, (2.5, 97.5)).tolist()) if len(values) else (None, None)


def write_report(
    directory: Path, material: Material, evaluation: Evaluation, about: Mapping[str, Any], asked: Asked, samples: int
) -> dict[str, Row]:
    """Write all files of an evaluation to `directory`; returns the table of metrics.

    about: counts, and what else metrics.json lists before the metrics; its "published" is shown in report.html.
    samples: of the bootstrap.
    """
    head = {**about, "dataset": asked.dataset, "simulated": asked.simulated, "ideal observer": evaluation.observer}
    head |= {"notes": page.warnings_of(asked.warnings, evaluation.notes), "judges": evaluation.judges}
    metrics = write_metrics(directory, evaluation, head, samples)
    write_queries(directory, material, evaluation)
    if len(material.queries) + len(material.photos) <= TABLED:
        write_embeddings(directory / "embeddings.parquet", embedding_batches(material))
    lines = gallery.lines(material, evaluation, asked.modality, asked.play)
    with atomic(directory / "gallery.png") as partial:
        title = "   ".join([f"{len(lines)} of {len(material.people)} people", *asked.warnings])
        gallery.sheet(lines, title).save(partial, "PNG")
    plots = drawn(plot(evaluation, metrics, len(material.people), asked.simulated))
    with atomic(directory / "plots.png") as partial:
        partial.write_bytes(plots)
    pictured = [
        replace(line, cells=[(caption, picture_data(picture), right) for caption, picture, right in line.cells])
        for line in lines
    ]
    text = render(
        page.TEMPLATES / "report.html",
        encoder=asked.parts["encoder"]["choice"],
        dataset=asked.dataset,
        warnings=head["notes"],
        question=summary.question(asked, about) + [f"The judge {n} {part}." for n, part in evaluation.judges.items()],
        answers=summary.answers(asked, about, metrics),
        published=page.published_table(about.get("published"), metrics),
        observer=summary.observer(evaluation.observer),
        ideal="ideal" in evaluation.outcomes,
        groups=page.groups(metrics, asked.simulated),
        plots=plot_data(plots),
        lines=pictured,
        retrieved=min(gallery.RETRIEVED, len(material.people)),
        framed=sum(any(right for *_, right in line.cells) for line in lines),
        people=len(material.people),
        query=asked.query,
        query_word="voice" if asked.modality == "speech" else "other photo",
        simulated=asked.simulated,
        samples=samples,
        parts=asked.parts,
        command=asked.command,
    )
    with atomic(directory / "report.html") as partial:
        partial.write_text(text, encoding="utf-8", errors="replace")
    return metrics


def write_metrics(directory: Path, evaluation: Evaluation, head: Mapping[str, Any], samples: int) -> dict[str, Row]:
    """Write metrics.json, with `head` first, metrics.csv and values.parquet; returns the table of metrics."""
    metrics = table(evaluation, samples)
    with atomic(directory / "metrics.json") as partial:
        partial.write_text(json.dumps(head | {"metrics": metrics}, indent=2) + "\n")
    with atomic(directory / "metrics.csv") as partial, open(partial, "wb") as file:
        file.write(csv_line(["metric", *COLUMNS]))
        for name, row in metrics.items():
            file.write(csv_line([name, *(None if row[c] is None else f"{row[c]:.6g}" for c in COLUMNS)]))
    write_values(directory, evaluation.outcomes["encoder"].metrics)
    return metrics


def write_queries(directory: Path, material: Material, evaluation: Evaluation) -> None:
    """queries.csv: every query with the ranks of its true face, and true and predicted traits (column TRAIT_read)."""
    own = evaluation.outcomes["encoder"]
    read = own.read.get("estimate", {}) | own.read["embedding"]
    with atomic(directory / "queries.csv") as partial, open(partial, "wb") as file:
        file.write(csv_line(["query", "person", *(f"rank_{distance}" for distance in DISTANCES), *_pairs(read)]))
        for i, query in enumerate(material.queries):
            traits = [value for name in read for value in (evaluation.truth[name][i], _short(read[name][i]))]
            ranks = [own.ranks[distance][i] for distance in DISTANCES]
            file.write(csv_line([query, material.people[material.rows[i]], *ranks, *traits]))


def embedding_batches(material: Material) -> Iterator[tuple[dict[str, list[str | None]], np.ndarray]]:
    """The rows of embeddings.parquet: input, role ("query" or "photo"), person, sha256, and embeddings (n, 4096)."""
    owners = [material.people[row] for row in material.rows]
    parts = (("query", material.queries, owners, material.embeddings),)
    parts += (("photo", material.photos, material.people, material.gallery),)
    for role, paths, people, embeddings in parts:
        for start in range(0, len(paths), GROUP):
            rows = slice(start, start + GROUP)
            names = paths[rows]
            texts = [str(material.dataset.root / name).encode(errors="replace").decode() for name in names]
            columns = {"input": texts, "role": [role] * len(names), "person": people[rows]}
            columns["sha256"] = [material.digests.get(name) for name in names]
            yield columns, np.asarray(embeddings[rows])


def _pairs(names: Iterable[str]) -> list[str]:
    return [column for name in names for column in (name, f"{name}_read")]


def _short(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.5g}"
