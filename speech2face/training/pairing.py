"""training.pairing=traits: recordings are paired with photos of other people who share what is known of the speaker."""

import logging
from collections.abc import Sequence

import numpy as np

from speech2face.data.dataset import Dataset

log = logging.getLogger(__name__)
AGE_WIDTH = 5.0  # years, of the kernel that estimates how frequent an age is


class Matches:
    """The photos that each speaker may be paired with.

    speakers: (people,) the group of each speaker, or -1 without any photo. Speakers with the same traits are in one
    group. rows, cumulative: by group, the rows of the photos and their cumulative probabilities.
    """

    def __init__(self, speakers: np.ndarray, rows: list[np.ndarray], cumulative: list[np.ndarray]) -> None:
        self.speakers, self.rows, self.cumulative = speakers, rows, cumulative

    def fitting(self, speakers: Sequence[str], rows: np.ndarray) -> tuple[list[str], "Matches"]:
        """The speakers with a photo, and their matches, in which photo i is called rows[i]. Warns of the others."""
        kept = np.flatnonzero(self.speakers >= 0)
        if len(kept) < len(speakers):
            log.warning("%d of %d speakers have traits that no photo has", len(speakers) - len(kept), len(speakers))
        return [speakers[i] for i in kept], Matches(
            self.speakers[kept], [rows[one] for one in self.rows], self.cumulative
        )

    def draw(self, speaker: int, random: np.random.Generator) -> int:
        """The row of a photo for a speaker who has one, at random."""
        group = self.speakers[speaker]
        return int(self.rows[group][np.searchsorted(self.cumulative[group], random.random(), side="right")])


def match(
    speakers: tuple[Dataset, Sequence[str]], photographed: tuple[Dataset, Sequence[str]], rules: dict[str, str | float]
) -> Matches:
    """Find the photos that fit each speaker. speakers, photographed: a dataset and some of its people.

    rules: by trait, "equal" or the greatest difference. A rule holds for speakers whose trait is known; a photo of a
    person without the trait does not fit them. Among the photos that fit, every age is equally likely, however many
    people have it. photographed: one photo each, in this order.
    """
    known = {trait: (_column(*speakers, trait), _column(*photographed, trait)) for trait in rules}
    shares = _age_shares(photographed)
    groups: dict[tuple[str, ...], int] = {}
    number, rows, cumulative = np.full(len(speakers[1]), -1), [], []
    for speaker in range(len(speakers[1])):
        traits = tuple(str(own[speaker]) for own, _ in known.values())
        if traits not in groups:
            fits = np.ones(len(photographed[1]), bool)
            for trait, (own, others) in known.items():
                fits &= _fits(own[speaker], others, rules[trait])
            groups[traits] = len(rows) if fits.any() else -1
            if fits.any():
                rows.append(np.flatnonzero(fits))
                total = np.cumsum(shares[fits])
                cumulative.append(total / total[-1])
        number[speaker] = groups[traits]
    return Matches(number, rows, cumulative)


def _column(dataset: Dataset, people: Sequence[str], trait: str) -> np.ndarray:
    return dataset.columns([trait], people).get(trait, np.full(len(people), ""))


def _fits(own: str | float, others: np.ndarray, rule: str | float) -> np.ndarray:
    """Which of the others (n,) have a trait that fits one's own. An unknown one, "" or NaN, fits all."""
    if own == "" or own != own:
        return np.ones(len(others), bool)
    if rule == "equal":
        return others == own
    return (
        np.abs(others.astype(float) - float(own)) <= rule if others.dtype.kind == "f" else np.zeros(len(others), bool)
    )


def _age_shares(photographed: tuple[Dataset, Sequence[str]]) -> np.ndarray:
    """The probability of each person, up to a factor, with which all ages of one sex are equally likely."""
    age, sex = _column(*photographed, "age"), _column(*photographed, "sex")
    shares = np.ones(len(sex))
    if age.dtype.kind != "f":
        return shares
    for one in np.unique(sex):
        own = np.flatnonzero((sex == one) & np.isfinite(age))
        frequency = np.exp(-0.5 * ((age[own, None] - age[own]) / AGE_WIDTH) ** 2).sum(1)
        shares[own] = 1 / frequency
    shares[~np.isfinite(age)] = np.median(shares)
    return shares
