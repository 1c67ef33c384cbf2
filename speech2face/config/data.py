"""The options of the groups data and protocol: a dataset, and a published protocol of evaluation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from speech2face.config.describe import Positive, Whole, says


@dataclass(kw_only=True, frozen=True)
class Data:
    """A dataset, from conf/data: its directories, or the settings of simulated people."""

    root: Annotated[str | None, says("directory of the dataset: <person>/audios/**, <person>/images/**")] = None
    audios: Annotated[
        str | None, says("pipeline=prepare: directory of recordings outside root, a folder per person")
    ] = None
    images: Annotated[str | None, says("pipeline=prepare: directory of photos outside root, a folder per person")] = (
        None
    )
    names: Annotated[
        str | None, says("table that maps folder names to people and describes them, such as vox1_meta.csv")
    ] = None
    splits: Annotated[str | None, says("list of the people's splits: split.json of SF2F, or lines NAME SPLIT")] = None
    where: Annotated[
        dict[str, str | int | float] | None,
        says("use only photos of people with these values in people.csv: {colour: 1}"),
    ] = None
    faces: Annotated[
        str | None, says("training.pairing=traits: dataset of the photos, if they are of other people than root")
    ] = None
    mix: Annotated[
        dict[str, Positive] | None,
        says("train_voice, estimates: further datasets, {DIR: WEIGHT}: how often one is drawn from; root's is 1"),
    ] = None
    people: Annotated[Whole | None, says("data=talkers: number of simulated people")] = None
    clips: Annotated[int, says("data=talkers: recordings per person", ge=0)] = 3
    photos: Annotated[int, says("data=talkers: pictures per person", ge=0)] = 3
    seconds: Annotated[float, says("data=talkers: approximate length of a recording in s", ge=0.5, le=600)] = 5.0

    @property
    def simulated(self) -> bool:
        """Whether the dataset is one of simulated people (data=talkers)."""
        return self.people is not None

    @property
    def path(self) -> Path:
        """The root as an absolute path."""
        return Path(self.root).expanduser().absolute()


@dataclass(kw_only=True, frozen=True)
class Protocol:
    """A published protocol, from conf/protocol: its source, the data that it needs, and the figures of others.

    published: one row per system and paper: `system`, `source`, and values by the names of this project's metrics, in
    their units. Figures without such a metric have names of their own.
    """

    name: str
    source: str
    needs: str
    published: list[dict[str, str | float]]
