"""Whom and what an evaluation compares."""

import dataclasses
import logging
import random
from collections.abc import Iterable
from dataclasses import dataclass

from speech2face.config.options import Evaluate
from speech2face.data.dataset import Dataset
from speech2face.data.folders import FOLDERS
from speech2face.data.people import split_name
from speech2face.errors import UserError

log = logging.getLogger(__name__)
Files = dict[str, list[str]]  # paths by person


@dataclass
class Chosen:
    """Who and what is compared.

    people: the gallery, one photo of each. training: people whom probes learn from, none of whom is in the gallery.
    queries: how many files of each person are compared with the gallery. alone: nobody has a second photo, so that the
    queries of a face encoder are the photos of the gallery.
    """

    people: list[str]
    training: list[str]
    queries: Files
    alone: bool = False


def choose(dataset: Dataset, options: Evaluate) -> tuple[Evaluate, Chosen]:
    """Choose the people and the queries. Returns the options, too: all people if split test has fewer than two.

    queries: the first recordings of each person, or for a face encoder the photos after the first, at most
    options.queries in all. Raises UserError if there are too few files.
    """
    options = dataclasses.replace(options, split=split_name(options.split))
    people, everybody = dataset.split(options.split), dataset.split("all")
    if options.split == "test" and len(people) < 2 <= len(everybody):
        log.warning(
            "split test has %d people with a photo, too few for an evaluation: all %d people are evaluated, as by "
            "split=all; those of split train are among them",
            len(people),
            len(everybody),
        )
        options, people = dataclasses.replace(options, split="all"), everybody
    training = _others(dataset.training_people(), people)[: options.train_people]
    if not training:
        log.warning("no training people (split train of people.csv) besides those evaluated: no attributes")
    modality = options.encoder.modality
    first = int(modality == "face")
    files = {person: dataset.files[modality].get(person, [])[first : first + options.clips] for person in people}
    alone = modality == "face" and not any(files.values())
    if alone:
        log.warning("nobody has a second photo: each is compared with itself; only the drawn faces say something then")
        files = {person: dataset.files["face"][person][:1] for person in people}
    queries = {path: person for person, paths in files.items() for path in paths}
    if len(queries) > options.queries:
        kept = random.Random(options.seed).sample(sorted(queries), options.queries)
        queries = {path: queries[path] for path in sorted(kept)}
    if len(people) < 2 or not queries:
        way_out = "" if options.split == "all" else "; split=all evaluates everybody"
        raise UserError(
            f"data.root={dataset.root}: {len(people)} people of split {options.split} with a photo, and {len(queries)} "
            f"files to compare in their {FOLDERS[modality]}; an evaluation needs two people, and one file{way_out}"
        )
    asked: Files = {}
    for path, person in queries.items():
        asked.setdefault(person, []).append(path)
    return options, Chosen(people, training, asked, alone)


def _others(people: Iterable[str], but: Iterable[str]) -> list[str]:
    but = set(but)
    return [person for person in people if person not in but]
