"""The last step of preparation: splits, manifest, statistics, normalized faces and report of the measured files."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from speech2face.data.people import read_people
from speech2face.errors import counted
from speech2face.files import atomic, csv_line
from speech2face.preparation import manifest
from speech2face.preparation.normalized import Each, write_normalized
from speech2face.preparation.report import write_report
from speech2face.preparation.sources import File

log = logging.getLogger(__name__)
SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}
AGE_GROUP = 20  # years
RESERVED = {"status", "problem"}  # columns of the manifest that no trait may replace


def finish(
    root: Path,
    files: dict[str, list[File]],
    traits: dict[str, dict[str, str]],
    notes: dict[str, dict[str, str]],
    seed: int,
    each: Each = map,
) -> None:
    """Write the manifest, people.csv, statistics.json, normalized.parquet and report.html to <root>/prepared.

    files: all files by kind ("clips", "faces"); each must have been measured under notes[kind], if it has no problem.
    traits: the columns of people.csv by person. notes: the settings of the measurement by kind. seed: of the splits.
    each: calls a function for many rows, as map() does.
    """
    prepared = root / "prepared"
    everything = {file.person: file for listed in files.values() for file in listed}
    earlier = read_people(prepared / "people.csv", everything) if (prepared / "people.csv").exists() else {}
    found = {file.person for listed in files.values() for file in listed if not file.problem}
    named = everything.keys() & (earlier.keys() | traits.keys())  # a person whose folder cannot be read keeps a split
    people = sorted(found | named)
    splits = assign_splits(people, traits, {person: row["split"] for person, row in earlier.items()}, seed)
    rows_of = dict.fromkeys(everything, "") | splits
    columns = {person: {name: one[name] for name in one if name not in RESERVED} for person, one in traits.items()}
    tables = {
        kind: manifest.merge(prepared, kind, listed, rows_of, columns, notes[kind]) for kind, listed in files.items()
    }
    names = sorted({name for one in traits.values() for name in one} - {"person", "split"})
    with atomic(prepared / "people.csv") as partial, open(partial, "wb") as file:
        file.write(csv_line(["person", "split", *names]))
        for person in people:
            values = (traits.get(person, {}).get(name, "") for name in names)
            file.write(csv_line([person, splits[person], *values]))
    statistics = fbank_statistics(tables["clips"])
    with atomic(prepared / "statistics.json") as partial:
        partial.write_text(json.dumps(statistics, indent=2) + "\n")
    write_normalized(root, tables["faces"], each)
    problems = write_report(root, tables, splits, statistics)
    for part in (prepared / "parts").iterdir():  # the manifest holds their rows now
        part.unlink()
    counts = {kind: Counter(table["status"].to_pylist()) for kind, table in tables.items()}
    for kind, count in counts.items():
        log.info("%s: %s", kind, ", ".join(f"{number} {status}" for status, number in sorted(count.items())))
    if statistics["std"]:
        log.info(
            "for voices: preprocessing.features.mean=%s preprocessing.features.std=%s",
            statistics["mean"],
            statistics["std"],
        )
    found = f"{counted(len(people), 'person')}, {counted(problems, 'problem')}"
    log.info("%s: %s", found, prepared / "report.html")


def assign_splits(
    people: Sequence[str], traits: dict[str, dict[str, str]], earlier: dict[str, str], seed: int
) -> dict[str, str]:
    """Assign each person to train, val or test; return the split by person.

    A split in `traits` wins, then a split in `earlier`, the result of the last preparation. The other people are
    sorted by sex and age group, where these are known, and then by a hash of seed and name. Each takes the split that
    is furthest below its share (SHARES), so the shares hold in each stratum.
    """

    def stratum(person: str) -> tuple[str, str, bytes]:
        own = traits.get(person, {})
        try:
            age = str(int(float(own.get("age", "")) // AGE_GROUP))
        except (ValueError, OverflowError):
            age = ""
        order = hashlib.sha256(f"{seed} {person}".encode()).digest()
        return own.get("sex", "").strip().lower(), age, order

    splits = {person: traits.get(person, {}).get("split") or earlier.get(person, "") for person in people}
    told, left = Counter(filter(None, splits.values())), sum(not split for split in splits.values())
    if told and left:
        log.info("splits of people.csv or an earlier preparation: %s; given to %d others", dict(told), left)
    counts = Counter(filter(None, splits.values()))
    for person in sorted((person for person in people if not splits[person]), key=stratum):
        total = counts.total() + 1
        splits[person] = max(SHARES, key=lambda split: SHARES[split] * total - counts[split])
        counts[splits[person]] += 1
    return splits


def fbank_statistics(clips: pa.Table) -> dict[str, float | None]:
    """Mean and standard deviation of the log-mel energies, for the front end of an Audio Spectrogram Transformer.

    They are measured at the level of the front end, over the good recordings of split train, or over all good
    recordings if that split has none. Returns `recordings` (their number), `mean` and `std`; both are None without
    recordings.
    """
    columns = ("status", "split", "fbank_values", "fbank_sum", "fbank_squares")
    rows = list(zip(*(clips[name].to_pylist() for name in columns), strict=True))
    good = [row for row in rows if row[0] == "ok" and row[2]]
    used = [row for row in good if row[1] == "train"] or good
    count = sum(row[2] for row in used)
    if not count:
        return {"recordings": 0, "mean": None, "std": None}
    mean = sum(row[3] for row in used) / count
    variance = max(sum(row[4] for row in used) / count - mean**2, 0.0)
    return {"recordings": len(used), "mean": round(mean, 6), "std": round(variance**0.5, 6)}
