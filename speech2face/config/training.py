"""The options below `training.` of the trainings; see speech2face.config.options."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from speech2face.config.describe import Natural, Positive, Whole, says
from speech2face.weights.part import Description

Losses = dict[str, Annotated[float, Meta(ge=0)]]


@dataclass(kw_only=True, frozen=True)
class Training:
    """Options of every training, below `training.`"""

    losses: Annotated[Losses, says("weight of each loss term; 0 switches a term off")]
    lr: Annotated[float, says("highest learning rate", gt=0)] = 1e-3
    warmup: Annotated[float, says("share of all steps over which the learning rate rises", ge=0, le=1)] = 0.05
    optimizer: Annotated[Description, says("class of the optimizer (_target_) and its arguments")] = field(
        default_factory=lambda: {"_target_": "torch.optim.AdamW", "_partial_": True, "weight_decay": 0.05}
    )
    patience: Annotated[Whole | None, says("epochs without a better validation metric after which training stops")] = (
        None
    )
    ema: Annotated[
        Annotated[float, Meta(gt=0, lt=1)] | None,
        says("decay of a moving average of the weights, such as 0.999, which is validated and kept"),
    ] = None
    average_from: Annotated[
        Natural | None,
        says("the mean of the weights at the ends of epochs is validated and kept, from this epoch on, counted from 0"),
    ] = None
    cache: Annotated[str, says("directory of cached embeddings", min_length=1)] = "outputs/embeddings"
    crops: Annotated[str, says("directory of cached crops of photos", min_length=1)] = "outputs/crops"


@dataclass(kw_only=True, frozen=True)
class FaceTraining(Training):
    """Options of pipeline=train_face."""

    losses: Annotated[Losses, says("weights of identity, traits, portrait and teacher; 0 switches a term off")] = field(
        default_factory=lambda: {"identity": 1.0, "traits": 0.3, "portrait": 2.0, "teacher": 1.0}
    )
    lr: Annotated[float, says("highest learning rate", gt=0)] = 2e-3
    margin: Annotated[float, says("margin of the cosine of an embedding and its class", ge=0, le=1)] = 0.2
    traits: Annotated[list[str], says("columns of people.csv to learn in addition, if they exist")] = field(
        default_factory=lambda: (
            ["sex", "age", "size", "skin_tone", "hair_colour", "hair_style", "eye_colour", "beard", "glasses"]
        )
    )
    crop: Annotated[
        Literal["face", "aligned", "require", "none"] | None,
        says("crop of the training photos; null: that of the front end"),
    ] = None


@dataclass(kw_only=True, frozen=True)
class DecoderTraining(Training):
    """Options of pipeline=train_decoder."""

    losses: Annotated[
        Losses, says("weights of landmarks (squared pixels), texture, picture and identity; 0 switches a term off")
    ] = field(default_factory=lambda: {"landmarks": 0.01, "texture": 5.0, "picture": 5.0, "identity": 0.5})
    optimizer: Annotated[Description, says("class of the optimizer (_target_) and its arguments")] = field(
        default_factory=lambda: {"_target_": "torch.optim.AdamW", "_partial_": True, "weight_decay": 0.01}
    )
    voices_of: Annotated[
        dict[str, str] | None, says("use only voices of people with these traits: {glasses: none, beard: none}")
    ] = None


@dataclass(kw_only=True, frozen=True)
class PairedTraining(Training):
    """Options of pipeline=train_voice and pipeline=train_prior: pairs of recordings and photos."""

    pairing: Annotated[
        Literal["all_to_all", "one_to_one", "all_to_one", "traits"],
        says("pairing of the recordings and photos of a person; traits: with photos of others, see training.match"),
    ] = "all_to_all"
    match: Annotated[
        dict[str, Literal["equal"] | Positive],
        says("training.pairing=traits: traits that must be equal, or differ by at most a number, where both are known"),
    ] = field(default_factory=lambda: {"sex": "equal", "age": 5.0})
    balanced: Annotated[bool, says("draw all persons equally often, independently of their number of recordings")] = (
        False
    )
    seconds: Annotated[
        Positive | None, says("length of the training window in s, at a random place; null: that of the front end")
    ] = None
    augment: Annotated[
        float, says("share of recordings that are augmented: equaliser, room, noise, speed, vocal tract", ge=0, le=1)
    ] = 1.0
    vocal_tract: Annotated[
        float,
        says("greatest change of the vocal tract's length in augmentation; 0.2 is about man to woman", ge=0, le=0.5),
    ] = 0.2
    versions: Annotated[
        int, says("with a frozen trunk: augmented versions of each recording that the trunk hears, once", ge=1)
    ] = 8


@dataclass(kw_only=True, frozen=True)
class VoiceTraining(PairedTraining):
    """Options of pipeline=train_voice."""

    losses: Annotated[
        Losses,
        says("weights of the terms; in the paper (section 3.2): normalized 0.025, layer 1, distillation 200, else 0"),
    ] = field(
        default_factory=lambda: {
            "normalized": 1.0,
            "layer": 0.0,
            "distillation": 0.0,
            "contrastive": 0.1,
            "length": 0.1,
            "squared": 0.0,
            "traits": 1.0,
            "consistency": 0.0,
        }
    )
    lr: Annotated[float, says("highest learning rate", gt=0)] = 5e-4
    traits: Annotated[list[str], says("columns of people.csv to learn in addition, if they exist")] = field(
        default_factory=lambda: (
            ["sex", "age"]
            + [f"voice_{name}" for name in ("pitch_hz", "range", "formants", "rate", "breathiness", "unsteadiness")]
        )
    )
    head_epochs: Annotated[int, says("first epochs, in which only the head is trained", ge=0)] = 0
    later_lr: Annotated[float, says("factor of the learning rate after head_epochs", gt=0)] = 0.1


@dataclass(kw_only=True, frozen=True)
class PriorTraining(PairedTraining):
    """Options of pipeline=train_prior."""

    losses: Annotated[Losses, says("weight of flow, the squared error of the velocity")] = field(
        default_factory=lambda: {"flow": 1.0}
    )
    noise: Annotated[
        float, says("deviation of the noise on the components of faces, so that the prior learns no person", ge=0)
    ] = 0.2
    dropped: Annotated[float, says("share of the pairs whose voice is left out, for guidance=", ge=0, lt=1)] = 0.15
