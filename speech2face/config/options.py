"""The options of every pipeline: type, range, default and a description in one line.

`python run.py pipeline=NAME --help` is generated from these classes, Hydra composes their defaults, and
speech2face.config.read checks the user's values against them. The defaults of parts (encoder, face, decoder) and of
the groups data, trainer and logger are in conf/.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

from msgspec import Meta

from speech2face.config.base import OnePart, Options, Sampling, Sharded, Tracked
from speech2face.config.data import Data, Protocol
from speech2face.config.describe import says
from speech2face.config.serving import Serve
from speech2face.config.sharing import Export, Publish
from speech2face.config.training import DecoderTraining, FaceTraining, PriorTraining, VoiceTraining
from speech2face.weights.part import Part

Output = Literal["embeddings", "faces", "panels"]


@dataclass(kw_only=True, frozen=True)
class Reconstruct(Sharded, Options):
    """Options of pipeline=speech and pipeline=face."""

    resumable = True
    encoder: Part
    decoder: Part
    write: Annotated[
        Annotated[list[Output], Meta(min_length=1)] | Output,
        says("what is written; embeddings alone: one table, and neither pictures nor folders"),
    ] = field(default_factory=lambda: list(get_args(Output)))
    samples: Annotated[int, says("further faces that the input may belong to, if the decoder can draw them", ge=0)] = 0


@dataclass(kw_only=True, frozen=True)
class Speech(Sampling, Reconstruct):
    """Reconstruct faces from recordings."""

    audio: Annotated[str | list[str] | None, says("recordings: a file, a directory, a glob, or a list of these")] = None

    @property
    def sources(self) -> tuple[str, str | list[str] | None]:
        """The name and the value of the option that names the inputs."""
        return "audio", self.audio


@dataclass(kw_only=True, frozen=True)
class Face(Reconstruct):
    """Reconstruct faces from photos."""

    image: Annotated[str | list[str] | None, says("photos: a file, a directory, a glob, or a list of these")] = None

    @property
    def sources(self) -> tuple[str, str | list[str] | None]:
        """The name and the value of the option that names the inputs."""
        return "image", self.image


@dataclass(kw_only=True, frozen=True)
class Merge(Options):
    """Put the results of all shards of pipeline=speech or pipeline=face together."""

    unresumable = "needs no resume: the same command begins anew"
    runs: Annotated[str | None, says("directory of the sweep over the shards")] = None


@dataclass(kw_only=True, frozen=True)
class Convert(OnePart):
    """Convert any readable checkpoint to the project's format."""

    slim: Annotated[bool, says("write half precision, without the classification layer")] = False
    average: Annotated[list[str], says("further weights of the same network; the mean of all is written")] = field(
        default_factory=list
    )


@dataclass(kw_only=True, frozen=True)
class Talkers(Options):
    """Make a dataset of simulated people, each with a voice and a face."""

    unresumable = "needs no resume: the same command goes on where data.root is not complete"
    data: Data


@dataclass(kw_only=True, frozen=True)
class Prepare(Sharded, Options):
    """Measure recordings and photos, and list them in a manifest for training and evaluation."""

    unresumable = "needs no resume: the same command goes on from what is done"
    data: Data
    face: Part
    workers: Annotated[int, says("processes that measure; 0: one per core", ge=0)] = 0
    landmarks: Annotated[bool, says("find 72 landmarks of each face")] = True


@dataclass(kw_only=True, frozen=True)
class Evaluate(Sampling, Sharded, Tracked, Options):
    """Compare an encoder's embeddings with those of the true faces."""

    unresumable = "needs no resume: what was encoded is kept, the same command goes on from there"
    data: Data
    encoder: Part
    face: Part
    decoder: Part
    split: Annotated[str, says("split of people.csv; all: all people, without probes", min_length=1)] = "test"
    clips: Annotated[int, says("most recordings per person", ge=1)] = 3
    queries: Annotated[int, says("most recordings in all", ge=1)] = 10_000
    per_person: Annotated[bool, says("compare the means of each person's recordings and photos, as SF2F does")] = False
    trials: Annotated[str | None, says("list of pairs to verify, below data.audios and data.images")] = None
    protocol: Annotated[Protocol | None, says("a published protocol: protocol=NAME")] = None
    gallery_sizes: Annotated[
        list[Annotated[int, Meta(ge=2)]], says("sizes of random galleries, in addition to the gallery of all people")
    ] = field(default_factory=lambda: [100, 1000, 5000])
    attributes: Annotated[list[str], says("columns of people.csv that probes predict, if they exist")] = field(
        default_factory=lambda: ["sex", "age", "size", "skin_tone", "hair_colour"]
    )
    train_people: Annotated[int, says("most people to fit probes and the ideal observer on", ge=0)] = 2000
    pictures: Annotated[int, says("most people whose decoded faces are compared", ge=1)] = 300
    judge: Annotated[dict[str, Any], says("judges of the drawn faces by name: class (_target_) and arguments")] = field(
        default_factory=dict
    )
    draws: Annotated[int, says("faces that the prior draws for each voice, to test its calibration", ge=2)] = 32
    samples: Annotated[int, says("resamples of the bootstrap", ge=20)] = 1000
    play: Annotated[
        bool, says("put some recordings of real people into report.html; those of simulated people always are")
    ] = False
    cache: Annotated[str, says("directory of cached embeddings", min_length=1)] = "outputs/embeddings"


@dataclass(kw_only=True, frozen=True)
class FitEstimates(Options):
    """Fit estimates of sex and age to an encoder's embeddings, and save them with its weights."""

    own_directory = True
    data: Data
    encoder: Part
    clips: Annotated[int, says("most files per person", ge=1)] = 3
    cache: Annotated[str, says("directory of cached embeddings", min_length=1)] = "outputs/embeddings"


@dataclass(kw_only=True, frozen=True)
class Train(Tracked, Options):
    """Options of all trainings."""

    resumable = True
    trained = "encoder"
    data: Data
    trainer: Annotated[dict[str, Any], says("arguments of lightning.Trainer")]
    encoder: Part
    batch_size: Annotated[int, says("rows of a training step", ge=1)] = 32
    workers: Annotated[int, says("processes that read batches", ge=0)] = 2
    resume_changed: Annotated[bool, says("resume= with other settings than before; the model card names them")] = False


@dataclass(kw_only=True, frozen=True)
class TrainFace(Train):
    """Train a face encoder to distinguish people by their photos."""

    training: FaceTraining
    teacher: Annotated[Part | None, says("face encoder whose descriptors are learnt, too: encoder@teacher=dlib")] = None
    batch_size: Annotated[int, says("rows of a training step", ge=1)] = 64


@dataclass(kw_only=True, frozen=True)
class TrainDecoder(Train):
    """Train a decoder to draw the normalized faces of a face encoder's embeddings."""

    trained = "decoder"
    decoder: Part
    training: DecoderTraining
    voices: Annotated[dict[str, Part], says("voice encoders whose embeddings are added: +encoder@voices.ast=ast")] = (
        field(default_factory=dict)
    )


@dataclass(kw_only=True, frozen=True)
class TrainVoice(Train):
    """Train a voice encoder to predict the face embedding of the speaker."""

    face: Part
    decoder: Part
    training: VoiceTraining


@dataclass(kw_only=True, frozen=True)
class TrainPrior(Train):
    """Train a prior to draw the embeddings of faces that a voice may belong to."""

    trained = "prior"
    face: Part
    prior: Part
    decoder: Part
    training: PriorTraining


SCHEMAS: dict[str, type[Options]] = {
    "speech": Speech,
    "face": Face,
    "merge": Merge,
    "serve": Serve,
    "convert": Convert,
    "export": Export,
    "publish": Publish,
    "talkers": Talkers,
    "prepare": Prepare,
    "evaluate": Evaluate,
    "estimates": FitEstimates,
    "train_face": TrainFace,
    "train_decoder": TrainDecoder,
    "train_voice": TrainVoice,
    "train_prior": TrainPrior,
}
