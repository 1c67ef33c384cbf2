"""`pipeline=talkers`: write a dataset of simulated people in the project's layout."""

import dataclasses
import json
import logging
import shutil
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from speech2face.config.options import Talkers, Train
from speech2face.data.folders import directory
from speech2face.errors import UserError, counted
from speech2face.files import atomic, csv_line, lock, unlock
from speech2face.inference import sheets
from speech2face.run.process import worker_processes
from speech2face.run.record import Run

if TYPE_CHECKING:
    from speech2face.talkers.traits import Person

Tables = dict[str, list[dict[str, Any]]]  # rows of the tables below prepared/, by the table's name
log = logging.getLogger(__name__)
GENERATOR = 2  # version of the generator: raise it when the same person looks or sounds different
CHUNK = 8  # people that a process writes at a time
SHOWN = 64  # people on the contact sheet


def talkers(options: Talkers, run: Run) -> int:
    """Write data.people simulated people to data.root and keep those that are complete. `seed` determines them.

    Returns 0. Raises UserError if data.root holds something else.
    """
    if not options.data.simulated:
        raise UserError("pipeline=talkers makes simulated people: data=talkers")
    if options.data.root is None:
        raise UserError("pipeline=talkers needs data.root= a directory to write the dataset to")
    run.way_on = "the same command"
    return ensure(options, run)


def provide(options: Train, run: Run) -> Train:
    """With data=talkers, make the dataset that `data` describes, unless it is complete.

    Returns the options, with a default for a data.root that is not given.
    """
    data = options.data
    if not data.simulated:
        return options
    if data.root is None:
        root = f"outputs/talkers/seed_{options.seed}_{data.clips}_{data.photos}_{data.seconds}_{data.people}"
        data = dataclasses.replace(data, root=root)
        options = dataclasses.replace(options, data=data)
    table = data.path / "people.csv"
    if not table.exists() or len(table.read_bytes().splitlines()) <= data.people:
        log.info("data=talkers: %d simulated people are made first: %s", data.people, data.path)
        ensure(options, run)
    return options


def ensure(options: Talkers | Train, run: Run) -> int:
    """Write the people of `data` that are missing, under a lock. Returns 0."""
    data = dataclasses.replace(options.data, root=str(options.data.path))
    root = directory(data.path, "data.root", make=True)
    run.save_options(dataclasses.replace(options, data=data))
    made_of = {"generator": GENERATOR, "seed": options.seed}
    made_of |= {"clips": data.clips, "photos": data.photos, "seconds": data.seconds}
    descriptor = lock(root)
    try:
        return make(root, run, data.people, max(options.workers, 1), made_of)
    finally:
        unlock(descriptor)


def make(root: Path, run: Run, people: int, workers: int, made_of: dict[str, Any]) -> int:
    """Write the dataset, its tables and a contact sheet. Returns 0. made_of: the settings that determine the people."""
    claim(root, people, made_of)
    with run.stage("write"):
        tables = write(root, people, workers, made_of)
    with run.stage("tables"):
        drawn = [one for start in range(0, people, CHUNK) for one in draw(made_of["seed"], start, people)]
        write_tables(root, drawn, tables)
        faces, clips = tables["faces"], tables["clips"]
        if faces:
            shown = [("", root / person.name / "images" / "00.png") for person in drawn[:SHOWN]]
            title = f"{people} people" + f", the first {SHOWN} shown" * (people > SHOWN)
            with atomic(run.directory / "contact_sheet.png") as partial:
                sheets.contact_sheet(shown, title).save(partial, "PNG")
    seconds = sum(row["seconds"] for row in clips)
    run.record["counts"] = {"people": people, "photos": len(faces), "clips": len(clips), "speech_seconds": seconds}
    run.save(seed=made_of["seed"])
    made = f"{counted(people, 'person')}, {counted(len(faces), 'photo')}"
    log.info("%s, %s of speech: %s", made, f"{seconds / 3600:.1f} h" if seconds >= 360 else f"{seconds:.0f} s", root)
    return 0


def claim(root: Path, people: int, made_of: dict[str, Any]) -> None:
    """Write the settings of the dataset to talkers.json, if they are not there.

    Raises UserError if `root` has a dataset of other settings or of more people, or is not a dataset of talkers.
    """
    note = root / "talkers.json"
    if not note.exists():
        if any(not file.name.startswith(".") for file in root.iterdir()):
            raise UserError(f"data.root={root}: not empty, and not a dataset of talkers; give another directory")
        with atomic(note) as partial:
            partial.write_text(json.dumps(made_of) + "\n")
    try:
        existing = dict(json.loads(note.read_text()))
    except (ValueError, TypeError):
        raise UserError(f"{note}: damaged; give another directory") from None
    have = max((int(file.name.rpartition("-")[2]) + 1 for file in root.glob("talker-*-[0-9]*")), default=0)
    if have > people:
        raise UserError(f"data.root={root}: has {have} people already; data.people={people} is fewer")
    for key, value in made_of.items():
        if existing.get(key) != value:
            option = f"data.{key}" if key in ("clips", "photos", "seconds") else key
            raise UserError(f"data.root={root}: made with {option}={existing.get(key)}; go on with that, or elsewhere")


def draw(seed: int, start: int, people: int) -> list["Person"]:
    """Draw the people of the chunk that begins at `start`. people: number of people in all."""
    from speech2face.talkers.traits import draw_person

    return [draw_person(seed, index) for index in range(start, min(start + CHUNK, people))]


def write(root: Path, people: int, workers: int, made_of: dict[str, Any]) -> Tables:
    """Write the missing people on `workers` processes. Returns the rows of all people, in order."""
    tables: Tables = {"faces": [], "normalized": [], "clips": []}
    starts = range(0, people, CHUNK)
    try:
        with worker_processes(min(workers, len(starts))) as executor, tqdm(total=people, unit="person") as bar:
            jobs = [executor.submit(write_chunk, root, start, people, made_of) for start in starts]
            for start, job in zip(starts, jobs, strict=True):
                for name, rows in job.result().items():
                    tables[name] += rows
                bar.update(min(CHUNK, people - start))
    except BrokenProcessPool:
        raise UserError("a process was killed, perhaps for lack of memory; the same command goes on") from None
    finally:
        for unfinished in root.glob(".talker-*.partial"):  # of processes that were ended
            shutil.rmtree(unfinished, ignore_errors=True)
    return tables


def write_chunk(root: Path, start: int, people: int, made_of: dict[str, Any]) -> Tables:
    """Write the missing people of one chunk. Returns the rows of all its people."""
    from speech2face.talkers import population

    chunk = draw(made_of["seed"], start, people)
    clips, photos, seconds = (made_of[key] for key in ("clips", "photos", "seconds"))
    names = [population.PHOTO.format(i) for i in range(photos)] + [population.CLIP.format(i) for i in range(clips)]
    names += [population.NORMALIZED] * bool(photos)
    missing = [person for person in chunk if not all((root / person.name / name).exists() for name in ["", *names])]
    if missing:
        population.write_people(root, missing, clips, photos, seconds)
    return {
        "faces": population.photo_rows(root, chunk, photos),
        "normalized": population.normalized_rows(root, chunk) if photos else [],
        "clips": population.clip_rows(root, chunk, clips, seconds),
    }


def write_tables(root: Path, people: list["Person"], tables: Tables) -> None:
    """Write people.csv and prepared/{faces,normalized,clips}.parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    (root / "prepared").mkdir(exist_ok=True)
    text = {key: pa.string() for key in ("person", "split", "path", "sha256")}
    face = text | {"landmarks": pa.list_(pa.float32(), 144)}
    columns = {"faces": face, "normalized": face, "clips": text | {"seconds": pa.float64(), "text": pa.string()}}
    for name, rows in tables.items():
        with atomic(root / "prepared" / f"{name}.parquet") as partial:
            pq.write_table(pa.Table.from_pylist(rows, pa.schema(columns[name])), partial)
    with atomic(root / "people.csv") as partial, open(partial, "wb") as file:
        columns = ["person", "split", *people[0].traits]
        file.write(csv_line(columns))
        for person in people:
            file.write(csv_line([person.name, person.split, *person.traits.values()]))
