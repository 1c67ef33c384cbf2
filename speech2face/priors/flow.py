"""A prior over face embeddings given the embedding of a voice, by flow matching.

Lipman et al., "Flow matching for generative modeling", ICLR 2023 (conditional flow matching with straight paths); with
classifier-free guidance (Ho and Salimans, arXiv 2207.12598).
"""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from speech2face.priors.remainder import Remainder

FARTHEST = 3.0  # deviations from the mean at which a condition is cut off: voices unlike those of the training
TRAITS = ("sex", "age", "skin_tone", "hair_tone", "face_width", "jaw_length")
WAVES = 8  # of the time, as cosines and sines


class FlowPrior(nn.Module):
    """Embedding of a voice -> embeddings of faces that the voice may belong to, drawn at random.

    Embeddings of faces are described by principal components, those of voices by a few conditions. `fit` computes the
    linear Gaussian model of these in closed form: the mean of the components is linear in the conditions, and the
    components are scaled so that what remains has unit covariance. A small network learns the velocity that such a
    model lacks. Its last layer starts at zero, so an untrained network samples the Gaussian model.

    components: of the embeddings of faces. learnt: number of the largest ones, whose velocity the network learns; the
    others follow from these (Remainder), and `match` corrects the spread of the samples. None: the network learns all.
    conditions: of the embeddings of voices. width, layers: of the network's
    hidden layers. embedding: width of the embeddings. traits: names of what is read from embeddings of faces: "sex",
    0 male to 1 female, and numbers. remembered: conditions of voices of the training, which stand for the population.
    """

    def __init__(
        self, components: int = 60, conditions: int = 4, width: int = 256, layers: int = 2, embedding: int = 4096,
        traits: Sequence[str] = TRAITS, remembered: int = 256, learnt: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.components, self.traits = components, tuple(traits)
        self.learnt = components if learnt is None else min(learnt, components)
        self.small = components - self.learnt  # components are in the order of their variance
        self.remainder = Remainder(self.learnt + conditions, self.small) if self.small else None
        if self.small:
            self.register_buffer("widening", torch.zeros(()))  # of the noise; these three are found by `match`
            self.register_buffer("centre", torch.zeros(self.learnt))
            self.register_buffer("correcting", torch.zeros(self.learnt, self.learnt))
        self.register_buffer("voices", torch.zeros(remembered, conditions))
        self.register_buffer("readout", torch.zeros(len(self.traits), components + 1))
        self.register_buffer("mean", torch.zeros(embedding))
        self.register_buffer("basis", torch.zeros(embedding, components))
        self.register_buffer("inverse", torch.zeros(components, embedding))
        self.register_buffer("effect", torch.zeros(components, conditions))  # of the conditions on the mean
        self.register_buffer("voice_mean", torch.zeros(embedding))
        self.register_buffer("voice_basis", torch.zeros(embedding, conditions))
        sizes = [self.learnt + conditions + 1 + 2 * WAVES, *[width] * layers]
        hidden = [part for pair in itertools.pairwise(sizes) for part in (nn.Linear(*pair), nn.SiLU())]
        self.network = nn.Sequential(*hidden, nn.Linear(width, self.learnt))
        nn.init.zeros_(self.network[-1].weight)
        nn.init.zeros_(self.network[-1].bias)

    def fit(self, voices: np.ndarray, faces: np.ndarray) -> None:
        """Compute the linear Gaussian model from pairs of embeddings, both (n, embedding) float32."""
        voice_mean, voice_axes, deviations = _components(voices, self.effect.shape[1])
        self._set("voice_mean", voice_mean)
        self._set("voice_basis", voice_axes / np.maximum(deviations, 1e-6 * deviations.max()))
        mean, axes, _ = _components(faces, self.components)
        with torch.no_grad():
            conditions = self.condition(torch.from_numpy(voices)).numpy()
        chosen = np.linspace(0, len(conditions) - 1, len(self.voices)).astype(int)
        self._set("voices", conditions[chosen])
        position = (faces - mean) @ axes
        one = np.concatenate([conditions, np.ones((len(faces), 1), np.float32)], 1)
        effect = np.linalg.lstsq(one, position, rcond=None)[0]
        powers, rotation = np.linalg.eigh(np.cov((position - one @ effect).T.astype(np.float64)))
        scale = np.sqrt(np.maximum(powers, 1e-9 * powers.max()))
        self._set("mean", mean + axes @ effect[-1])
        self._set("basis", axes @ (rotation * scale))
        self._set("inverse", (rotation / scale).T @ axes.T)
        self._set("effect", ((effect[:-1] @ rotation) / scale).T)
        if self.small:
            left = self.describe(torch.from_numpy(faces)).numpy() - conditions @ self.effect.numpy().T
            known = np.concatenate([left[:, self.small :], conditions], 1)
            self.remainder.fit(known, left[:, : self.small])
            self.widening.fill_(1)
            self._set("centre", np.zeros(self.learnt))
            self._set("correcting", np.eye(self.learnt))

    def fit_traits(self, faces: np.ndarray, traits: dict[str, np.ndarray]) -> None:
        """Regress traits (n,) by name, NaN where unknown, on embeddings of faces (n, embedding). Call after `fit`."""
        seen = self.describe(torch.from_numpy(faces)).numpy()
        one = np.concatenate([seen, np.ones((len(seen), 1), np.float32)], 1)
        for number, name in enumerate(self.traits):
            known = np.isfinite(traits.get(name, np.full(len(faces), np.nan)))
            if known.any():
                penalty = np.diag(np.append(np.full(self.components, 10.0), 0))  # of a ridge regression
                gram = one[known].T @ one[known] + penalty
                found = np.linalg.solve(gram, one[known].T @ traits[name][known])
                self.readout[number] = torch.from_numpy(found).float()

    def read(self, faces: torch.Tensor) -> dict[str, torch.Tensor]:
        """Traits (batch,) by name of embeddings of faces (batch, embedding); those that the training knew."""
        values = self.describe(faces) @ self.readout[:, :-1].T + self.readout[:, -1]
        found = {name: values[:, i] for i, name in enumerate(self.traits) if bool(self.readout[i].any())}
        return found | ({"sex": found["sex"].clamp(0, 1)} if "sex" in found else {})

    def _set(self, name: str, values: np.ndarray) -> None:
        getattr(self, name).copy_(torch.from_numpy(np.ascontiguousarray(values, np.float32)))

    def condition(self, voices: torch.Tensor) -> torch.Tensor:
        """Embeddings of voices (batch, embedding) -> conditions (batch, conditions) of unit variance."""
        return ((voices.float() - self.voice_mean) @ self.voice_basis).clamp(-FARTHEST, FARTHEST)

    def describe(self, faces: torch.Tensor) -> torch.Tensor:
        """Embeddings of faces (batch, embedding) -> components (batch, components)."""
        return (faces.float() - self.mean) @ self.inverse.T

    def embeddings(self, components: torch.Tensor) -> torch.Tensor:
        """Components (..., components) -> embeddings of faces (..., embedding)."""
        return self.mean + components @ self.basis.T

    def correction(
        self, position: torch.Tensor, time: torch.Tensor, condition: torch.Tensor, known: torch.Tensor
    ) -> torch.Tensor:
        """The velocity beside that of the Gaussian model, (batch, learnt).

        position: (batch, learnt), minus the mean at that time. time: (batch, 1) in [0, 1]. condition: (batch,
        conditions). known: (batch, 1), 1.0, or 0.0 where the condition is left out.
        """
        phase = time * torch.arange(1, WAVES + 1, device=time.device) * (torch.pi / 2)
        seen = [position, condition * known, known, phase.cos(), phase.sin()]
        return self.network(torch.cat(seen, 1))

    def loss(
        self, voices: torch.Tensor, faces: torch.Tensor, generator: torch.Generator, noise: float = 0.0,
        dropped: float = 0.0,
    ) -> torch.Tensor:  # fmt: skip
        """The conditional flow matching loss (Lipman et al., equation 23) per pair and component, (batch, learnt).

        noise: deviation of the noise on the components of faces. dropped: share of the pairs whose condition is left
        out, for guidance.
        """
        end, condition = self.describe(faces)[:, self.small :], self.condition(voices)
        device = end.device
        start = torch.randn(end.shape, generator=generator, device=device)
        end = end + noise * torch.randn(end.shape, generator=generator, device=device)
        time = torch.rand((len(end), 1), generator=generator, device=device)
        known = (torch.rand((len(end), 1), generator=generator, device=device) >= dropped).float()
        mean = condition @ self.effect[self.small :].T * known
        position = (1 - time) * start + time * end - time * mean
        gaussian = mean + (2 * time - 1) / (time**2 + (1 - time) ** 2) * position
        return (self.correction(position, time, condition, known) + gaussian - (end - start)).square()

    @torch.no_grad()
    def sample(
        self, voices: torch.Tensor, count: int, generators: Sequence[torch.Generator], guidance: float = 1.0,
        steps: int = 8, truncation: float = 1.0,
    ) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        """Draw `count` faces for each voice.

        Embeddings of voices (batch, embedding) -> embeddings of faces (batch, count, embedding), scores (batch, count).

        generators: one per voice, the only source of randomness. guidance: weight of the voice; 1: as learnt, 0: as if
        the voice were unknown. steps: of Heun's method. truncation: factor of the noise; below 1 the faces are nearer
        to the mean. scores: logarithm of the density under a unit Gaussian, divided by the number of components, plus
        a constant: 0 is the most typical face, -0.5 usual.
        """
        drawn = [torch.randn((count, self.components), generator=one, device=one.device) for one in generators]
        condition = self.condition(voices).repeat_interleave(count, 0)
        faces, scores = self.flow(condition, truncation * torch.cat(drawn), guidance, steps)
        return faces.unflatten(0, (len(voices), count)), scores.unflatten(0, (len(voices), count))

    @torch.no_grad()
    def match(self, count: int = 8192) -> None:
        """Correct the spread of the samples of the learnt components; call it when the network has changed.

        Beside their mean, the components of the faces of the training have unit covariance (`fit`). The samples of a
        network vary less, by 8 % in the bundled weights. Wider noise restores their total variance, and a linear map
        what is left of their covariance. Both are found from `count` samples.
        """
        if not self.small:
            return
        device = self.mean.device
        noise = torch.randn((count, self.learnt), generator=torch.Generator(device).manual_seed(0), device=device)
        voices = self.voices[torch.arange(count, device=device) % len(self.voices)]
        self.widening.fill_(1)
        position = self.move(voices, noise, 1.0, 8)
        for _ in range(3):
            self.widening.div_(position.var(0).mean().sqrt())
            position = self.move(voices, self.widening * noise, 1.0, 8)
        powers, axes = torch.linalg.eigh(torch.cov(position.T))
        self.centre.copy_(position.mean(0))
        self.correcting.copy_(axes / powers.clamp(min=1e-3).sqrt() @ axes.T)

    @torch.no_grad()
    def population(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Embeddings (count, embedding) of faces of random voices of the training."""
        chosen = torch.randint(len(self.voices), (count,), generator=generator, device=generator.device)
        noise = torch.randn((count, self.components), generator=generator, device=generator.device)
        return self.flow(self.voices[chosen], noise, 1.0, 8)[0]

    def flow(
        self, condition: torch.Tensor, noise: torch.Tensor, guidance: float, steps: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Conditions (batch, conditions), noise (batch, components) -> embeddings of faces, scores. See `sample`."""
        small, large = noise[:, : self.small], noise[:, self.small :]
        large = self.move(condition, self.widening * large if self.small else large, guidance, steps)
        large = (large - self.centre) @ self.correcting if self.small else large
        scores = -0.5 * torch.cat([small, large], 1).square().mean(1)
        if self.small:
            small = self.remainder(torch.cat([large, guidance * condition], 1), small)
        return self.embeddings(torch.cat([small, large], 1) + guidance * condition @ self.effect.T), scores

    def move(self, condition: torch.Tensor, position: torch.Tensor, guidance: float, steps: int) -> torch.Tensor:
        """Noise (batch, learnt) -> learnt components minus their mean (batch, learnt). See `sample`."""
        mean = condition @ self.effect[self.small :].T

        def slope(position: torch.Tensor, at: float) -> torch.Tensor:
            """Of the position divided by the width of the path, so that the Gaussian model has the slope 0."""
            width, time = (at**2 + (1 - at) ** 2) ** 0.5, position.new_full((len(position), 1), at)
            known = torch.ones_like(time)
            if guidance == 1:
                return self.correction(width * position, time, condition, known) / width
            moved = width * position + at * guidance * mean
            given = self.correction(moved - at * mean, time, condition, known)
            alone = self.correction(moved, time, condition, 0 * known)
            return (alone + guidance * (given - alone)) / width

        for step in range(steps):
            first = slope(position, step / steps)
            second = slope(position + first / steps, (step + 1) / steps)
            position = position + (first + second) / (2 * steps)
        return position


def _components(values: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (width,), the first principal axes (width, count) and deviations (count,) of values (n, width).

    Axes are zero where there are fewer.
    """
    from sklearn.utils.extmath import randomized_svd

    mean, number = values.mean(0), min(count, *values.shape)
    _, sizes, axes = randomized_svd(values - mean, number, random_state=0)
    found, deviations = np.zeros((values.shape[1], count), np.float32), np.zeros(count, np.float32)
    found[:, :number], deviations[:number] = axes.T, sizes / np.sqrt(len(values))
    return mean, found, deviations
