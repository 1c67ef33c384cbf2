"""The options of every pipeline: type, range, default and one line of description each.

`python run.py pipeline=NAME --help` is generated from these classes, Hydra composes their defaults, and
speech2face.config.read checks what the user gave against them. Parts (encoder, face, decoder) and the groups data,
trainer and logger have their defaults in conf/.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from speech2face.config.describe import Natural, Whole, says
from speech2face.config.training import DecoderTraining, FaceTraining, VoiceTraining
from speech2face.weights.part import Part


@dataclass(kw_only=True, frozen=True)
class Pipeline:
    """conf/pipeline/NAME.yaml: what runs."""

    _target_: str
    name: str


@dataclass(kw_only=True, frozen=True)
class Options:
    """Options of every pipeline."""

    pipeline: Pipeline
    choices: dict[str, Any] = field(default_factory=dict)
    from_weights: Annotated[
        bool, says("take architecture and front end as the weights bring them; false: exactly as configured")
    ] = True
    resume: Annotated[str | None, says("output directory of an earlier run to go on with")] = None
    device: Annotated[str, says("auto, cpu, cuda, cuda:N or mps")] = "auto"
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"], says("of the networks; auto: bf16 where the hardware is fast at it")
    ] = "auto"
    batch_size: Annotated[int, says("inputs that go through the networks together", ge=1)] = 1
    workers: Annotated[int, says("threads or processes that read inputs meanwhile", ge=1)] = 2
    seed: Annotated[int, says("of everything random", ge=0, le=2**63 - 1)] = 0
    metric: Annotated[str | None, says("name of the metric that a sweeper optimises; none: the pipeline's own")] = None


@dataclass(kw_only=True, frozen=True)
class Reconstruct(Options):
    """Options of pipeline=speech and pipeline=face."""

    encoder: Part
    decoder: Part
    samples: Annotated[int, says("more faces that the input may belong to, of a decoder that draws several", ge=0)] = 0


@dataclass(kw_only=True, frozen=True)
class Speech(Reconstruct):
    """A recording to a face."""

    audio: Annotated[str | list[str] | None, says("recordings: a file, a directory, a glob, or a list of these")] = None

    @property
    def sources(self) -> tuple[str, str | list[str] | None]:
        return "audio", self.audio


@dataclass(kw_only=True, frozen=True)
class Face(Reconstruct):
    """A photo to a face."""

    image: Annotated[str | list[str] | None, says("photos: a file, a directory, a glob, or a list of these")] = None

    @property
    def sources(self) -> tuple[str, str | list[str] | None]:
        return "image", self.image


@dataclass(kw_only=True, frozen=True)
class Convert(Options):
    """Any readable checkpoint to our format."""

    encoder: Part
    decoder: Part
    part: Annotated[Literal["encoder", "decoder"], says("the part whose weights are converted")] = "encoder"
    slim: Annotated[bool, says("half precision, and no classification layer")] = False
    average: Annotated[list[str], says("further weights of the same network; what is written is the mean of all")] = (
        field(default_factory=list)
    )


@dataclass(kw_only=True, frozen=True)
class Data:
    """conf/data: where a dataset is, or which simulated people it is made of."""

    root: Annotated[str | None, says("directory of the dataset: <person>/audios/**, <person>/images/**")] = None
    audios: Annotated[str | None, says("pipeline=prepare: recordings elsewhere, a folder for each person")] = None
    images: Annotated[str | None, says("pipeline=prepare: photos elsewhere, a folder for each person")] = None
    names: Annotated[str | None, says("table that joins folder names and describes people: vox1_meta.csv")] = None
    people: Annotated[Whole | None, says("data=talkers: simulated people")] = None
    clips: Annotated[int, says("data=talkers: recordings of each person", ge=0)] = 3
    photos: Annotated[int, says("data=talkers: pictures of each person", ge=0)] = 3
    seconds: Annotated[float, says("data=talkers: approximate length of a recording", ge=0.5, le=600)] = 5.0

    @property
    def simulated(self) -> bool:
        """Whether the dataset is one of talkers that are made where they are missing."""
        return self.people is not None

    @property
    def path(self) -> Path:
        """The root as an absolute path."""
        return Path(self.root).expanduser().absolute()


@dataclass(kw_only=True, frozen=True)
class Talkers(Options):
    """A dataset of simulated people, each with a voice and a face."""

    data: Data


@dataclass(kw_only=True, frozen=True)
class Prepare(Options):
    """Measure and list a folder of recordings and photos, for training and evaluation."""

    data: Data
    face: Part
    workers: Annotated[int, says("processes; 0: one for each core", ge=0)] = 0
    landmarks: Annotated[bool, says("find 72 landmarks of each face, which needs the extra `landmarks`")] = True
    shards: Annotated[int, says("parts that the people are divided into", ge=1)] = 16
    shard: Annotated[Natural | None, says("measure only this part, as one process of many; then once without")] = None


@dataclass(kw_only=True, frozen=True)
class Evaluate(Options):
    """How well an encoder's embeddings match the true faces' embeddings."""

    data: Data
    encoder: Part
    face: Part
    decoder: Part
    split: Annotated[str, says("people of this split of people.csv; all: everybody, and no probes", min_length=1)] = (
        "test"
    )
    clips: Annotated[int, says("recordings of a person, at most", ge=1)] = 3
    queries: Annotated[int, says("recordings in all, at most", ge=1)] = 10_000
    gallery_sizes: Annotated[
        list[Annotated[int, Meta(ge=2)]], says("sizes of random galleries, besides that of all people")
    ] = field(default_factory=lambda: [100, 1000, 5000])
    attributes: Annotated[list[str], says("columns of people.csv that probes read, where they exist")] = field(
        default_factory=lambda: ["sex", "age", "size", "skin_tone", "hair_colour"]
    )
    train_people: Annotated[int, says("people that probes and the ideal observer are fitted on, at most", ge=0)] = 2000
    pictures: Annotated[int, says("people whose faces are drawn and compared, at most", ge=1)] = 300
    samples: Annotated[int, says("resamples of the bootstrap", ge=20)] = 1000
    cache: Annotated[str, says("directory of cached embeddings", min_length=1)] = "outputs/embeddings"


@dataclass(kw_only=True, frozen=True)
class Train(Options):
    """Options of all three trainings."""

    data: Data
    trainer: Annotated[dict[str, Any], says("arguments of lightning.Trainer")]
    logger: Annotated[dict[str, Any], says("loggers of the training by name, Lightning's or others")]
    encoder: Part
    batch_size: Annotated[int, says("rows of a training step", ge=1)] = 32
    workers: Annotated[int, says("processes that read batches", ge=0)] = 2


@dataclass(kw_only=True, frozen=True)
class TrainFace(Train):
    """Train a face encoder to tell people apart by their photos."""

    training: FaceTraining
    batch_size: Annotated[int, says("rows of a training step", ge=1)] = 64


@dataclass(kw_only=True, frozen=True)
class TrainDecoder(Train):
    """Train a decoder to draw the normalized faces of a face encoder's embeddings."""

    decoder: Part
    training: DecoderTraining
    voices: Annotated[
        dict[str, Part], says("voice encoders whose embeddings are drawn too: +encoder@voices.ast=ast")
    ] = field(default_factory=dict)


@dataclass(kw_only=True, frozen=True)
class TrainVoice(Train):
    """Train a voice encoder to predict the face embedding of the speaker."""

    face: Part
    decoder: Part
    training: VoiceTraining


SCHEMAS: dict[str, type[Options]] = {
    "speech": Speech,
    "face": Face,
    "convert": Convert,
    "talkers": Talkers,
    "prepare": Prepare,
    "evaluate": Evaluate,
    "train_face": TrainFace,
    "train_decoder": TrainDecoder,
    "train_voice": TrainVoice,
}
