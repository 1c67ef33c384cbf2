"""A decoder that draws simulated people: embedding -> parameters of a face -> its portrait."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from speech2face.decoders.base import TrainableDecoder
from speech2face.errors import UserError
from speech2face.talkers import portrait
from speech2face.talkers.face_traits import BEARDS, EYE_COLOURS, GEOMETRY, GLASSES, HAIR_STYLES
from speech2face.talkers.population import NEUTRAL_CLOTHES, NEUTRAL_SCENE, NOISE
from speech2face.talkers.traits import Person, draw_person

if TYPE_CHECKING:
    from speech2face.decoders.base import Examples

SHARES = (  # numbers in [0, 1]
    *("skin_tone", "hair_melanin", "hair_red", "grey", "wrinkles", "sag", "freckles", "beard_density", "stubble"),
    *("makeup", "lip_colour"),
)
NUMBERS = (*GEOMETRY, "skin_warmth", "hair_volume", *SHARES)
CLASSES = {"hair_style": HAIR_STYLES, "beard": BEARDS, "glasses": GLASSES, "eye_colour": EYE_COLOURS}
WIDTH = len(NUMBERS) + sum(map(len, CLASSES.values()))


class TalkerDecoder(TrainableDecoder):
    """Embedding -> the portrait of a simulated person, always sharp: the parameters of a face are linear in it.

    As a morphable model is fitted to a voice (Wu et al., "Cross-modal perceptionist", CVPR 2022), it predicts the
    parameters of a known renderer (speech2face.talkers.portrait) instead of pixels. Numbers are predicted as they are;
    for hair style, beard, glasses and colour of the eyes the most probable class is drawn.

    embedding: width of the embedding. ridge: penalty of the regression, as a share of the embeddings' variance.
    """

    closed_form = True

    def __init__(self, embedding: int = 4096, ridge: float = 1.0) -> None:
        super().__init__()
        self.ridge = ridge
        self.regression = nn.Linear(embedding, WIDTH)

    @property
    def first_layer(self) -> nn.Module:
        """The regression from embeddings to parameters."""
        return self.regression

    def forward(self, embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch, 4096) -> landmarks (batch, 72, 2) as x, y in pixels, images (batch, 3, 224, 224), RGB in [0, 1]."""
        face = self.parameters_of(embeddings)
        noise = torch.rand((1, *NOISE), generator=torch.Generator().manual_seed(0))
        face["noise"] = noise.to(embeddings.device).expand(len(embeddings), *NOISE)  # hair and pores of everybody
        scene = {name: torch.full((len(embeddings),), float(value)) for name, value in NEUTRAL_SCENE.items()}
        images, landmarks = portrait.render(face, scene)
        return landmarks, images

    def parameters_of(self, embeddings: torch.Tensor) -> dict[str, torch.Tensor]:
        """Embeddings (batch, 4096) -> parameters of faces, (batch,) by name, in neutral clothes (portrait.render)."""
        with torch.autocast(embeddings.device.type, enabled=False):
            found = self.regression(embeddings.float())
        face = dict(zip(NUMBERS, found[:, : len(NUMBERS)].unbind(1), strict=True))
        face |= {name: face[name].clamp(0, 1) for name in SHARES}
        scores = found[:, len(NUMBERS) :].split([len(classes) for classes in CLASSES.values()], 1)
        face |= {name: one.argmax(1) for name, one in zip(CLASSES, scores, strict=True)}
        return face | {name: torch.full((len(found),), value) for name, value in NEUTRAL_CLOTHES.items()}

    def aligned(self, embeddings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `forward`: nothing is warped."""
        return self(embeddings)

    def onto(self, landmarks: torch.Tensor, texture: torch.Tensor, back: bool = False) -> torch.Tensor:
        """The texture as it is: nothing is warped."""
        return texture

    def fit(self, examples: "Examples") -> None:
        """Regress the parameters of simulated people, whose names determine them, on their embeddings."""
        people = [named(name) for name in examples.people]
        truth = np.array([targets(person.face) for person in people], np.float32)[examples.which]
        embeddings = np.asarray(examples.embeddings[np.arange(len(truth))], np.float64)
        centre, mean = embeddings.mean(0), truth.mean(0)
        embeddings -= centre
        gram = embeddings.T @ embeddings
        penalty = self.ridge * np.trace(gram) / len(gram) * np.eye(len(gram))
        weight = np.linalg.solve(gram + penalty, embeddings.T @ (truth - mean)).T
        self.regression.weight.data = torch.from_numpy(weight.astype(np.float32))
        self.regression.bias.data = torch.from_numpy((mean - weight @ centre).astype(np.float32))


def named(name: str) -> Person:
    """The simulated person of a name, such as talker-0-000017. Raises UserError for other names."""
    try:
        _, seed, index = name.split("-")
        person = draw_person(int(seed), int(index))
    except ValueError:
        person = None
    if person is None or person.name != name:
        raise UserError(f"decoder=talker learns from simulated people only (pipeline=talkers), and not from {name}")
    return person


def targets(face: dict[str, float]) -> list[float]:
    """Parameters of a face (face_traits.draw_face) -> the WIDTH numbers that the decoder predicts."""
    classes = [float(face[name] == i) for name, names in CLASSES.items() for i in range(len(names))]
    return [float(face[name]) for name in NUMBERS] + classes
