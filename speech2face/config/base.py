"""Options that several pipelines share; see speech2face.config.options."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from speech2face.config.describe import Natural, says
from speech2face.weights.part import Part


@dataclass(kw_only=True, frozen=True)
class Pipeline:
    """The pipeline, from conf/pipeline/NAME.yaml: its function and its name."""

    _target_: str
    name: str


@dataclass(kw_only=True, frozen=True)
class Sweep:
    """Options of a sweep (-m), below `sweep.`"""

    stop_on_failure: Annotated[bool, says("-m: start no further job once one has failed")] = False


@dataclass(kw_only=True, frozen=True)
class Options:
    """Options of every pipeline."""

    resumable = False  # whether resume= goes on with an earlier run; not an option
    unresumable = "has nothing to resume"  # why it does not; not an option
    trained = ""  # the slot of the part that a training trains; not an option
    own_directory = False  # whether the run writes only to a new or empty directory; not an option
    pipeline: Pipeline
    choices: dict[str, Any] = field(default_factory=dict)
    from_weights: Annotated[
        bool, says("use the architecture and the front end that the weights bring; false: those that are configured")
    ] = True
    resume: Annotated[str | None, says("output directory of an earlier run to go on with")] = None
    device: Annotated[str, says("auto, cpu, cuda, cuda:N or mps")] = "auto"
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        says("precision of the networks; auto: bf16 if the hardware is fast at it, else fp32"),
    ] = "auto"
    batch_size: Annotated[int, says("inputs that pass through the networks together", ge=1)] = 1
    workers: Annotated[int, says("threads or processes that read inputs", ge=1)] = 2
    seed: Annotated[int, says("seed of all random numbers", ge=0, le=2**63 - 1)] = 0
    metric: Annotated[str | None, says("name of the metric that a sweeper optimises; null: the pipeline's own")] = None
    sweep: Sweep = field(default_factory=Sweep)


@dataclass(kw_only=True, frozen=True)
class OnePart(Options):
    """Options of pipelines that make something of the weights of one part."""

    own_directory = True
    encoder: Part
    decoder: Part
    prior: Part
    part: Annotated[Literal["encoder", "decoder", "prior"], says("the part whose weights are taken")] = "encoder"

    @property
    def chosen(self) -> Part:
        """The part."""
        return getattr(self, self.part)


@dataclass(kw_only=True, frozen=True)
class Tracked:
    """Options of runs that trackers of experiments are told of."""

    logger: Annotated[dict[str, Any], says("trackers by name: class (_target_) and arguments")] = field(
        default_factory=dict
    )


@dataclass(kw_only=True, frozen=True)
class Sampling:
    """Options of the prior, which draws faces that a voice may belong to."""

    prior: Annotated[Part | None, says("draws the embeddings of faces that a voice may belong to")] = None
    guidance: Annotated[
        float, says("weight of the voice in the prior; 1: as learnt, 0: as if the voice were unknown", ge=0, le=10)
    ] = 1.0
    steps: Annotated[int, says("steps in which the prior draws", ge=1, le=1000)] = 8
    truncation: Annotated[
        float, says("factor of the prior's noise; less than 1: faces nearer to the typical one", gt=0, le=2)
    ] = 1.0


@dataclass(kw_only=True, frozen=True)
class Sharded:
    """Options of the pipelines whose work several jobs can share."""

    shards: Annotated[int, says("number of parts that the work is divided into", ge=1)] = 16
    shard: Annotated[Natural | None, says("do only this part, from 0; all parts are then put together")] = None
