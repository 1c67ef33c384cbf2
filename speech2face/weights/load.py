"""Build a part of a pipeline on its weights, with the architecture and the front end that the weights bring."""

import dataclasses
import itertools
import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from hydra.utils import instantiate
from torch import nn

from speech2face.encoders.base import EncoderNetwork
from speech2face.errors import UserError
from speech2face.weights.choose import choose, select
from speech2face.weights.front_end import build_front_end, leaves, settle_front_end
from speech2face.weights.layout import Tensors
from speech2face.weights.locate import Located, find, locate
from speech2face.weights.ours import check_card, read_card, take_estimates, without_run_settings
from speech2face.weights.part import Description, Part
from speech2face.weights.read import read_state_dicts
from speech2face.weights.recognise import Unfilled, Weights, check_fit, checked, difference, is_counter, shapes

if TYPE_CHECKING:
    from speech2face.weights.front_end import FrontEnd

log = logging.getLogger(__name__)
NUMPY_KNOWS = (torch.float16, torch.float32, torch.float64)
SEEDED = threading.Lock()  # all threads share torch's generator


@dataclass
class Loaded:
    """A part with its weights loaded, in evaluation mode on the CPU.

    part: its effective description: architecture, front end, weights and init by absolute path.
    preprocessing: the front end of an encoder. located: the file of the weights. layout: name of its layout.
    untrained: whether the weights are random, or were when they were converted.
    training: the record of a training by this project.
    space: the face encoder whose embeddings the part gives or takes, as {"choice": its option, "sha256": its weights};
        None if that is unknown.
    estimates: the numbers of speech2face.inference.estimates that the weights bring.
    """

    part: Part
    network: nn.Module
    preprocessing: "FrontEnd | None"
    located: Located
    layout: str
    untrained: bool
    training: dict[str, Any] | None = None
    space: dict[str, str] | None = None
    estimates: dict[str, np.ndarray] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """The entry of the part's weights in run.json."""
        return {
            "choice": self.part.option,
            "weights": self.located.weights,
            "file": str(self.located.file) if self.located.file else None,
            "sha256": self.located.digest,
            "layout": self.layout,
            "untrained": self.untrained,
        }

    def source(self) -> dict[str, Any]:
        """Where the weights come from, for the card of weights that are made of them."""
        return {"weights": self.located.weights, "layout": self.layout, "sha256": self.located.digest}

    def card(self) -> dict[str, Any]:
        """The card of weights that are made of these without a training (speech2face.weights.ours)."""
        card = {
            "part": self.part.kind,
            "architecture": self.part.model,
            "preprocessing": self.part.preprocessing and without_run_settings(self.part.preprocessing),
            "untrained": self.untrained,
            "embeddings": self.space,
            "source": self.source(),
        }
        return card | ({"training": self.training} if self.training else {})


def load(part: Part, seed: int = 0, located: Located | None = None) -> Loaded:
    """Build a part and load its weights.

    A typed value wins over one that the weights bring, with a warning. seed: of random weights. located: the weights,
    if they have been located. Raises UserError if the weights are damaged, are of another network, or have changed
    since the run that is repeated.
    """
    located, random_head = located or locate(part), False
    if part.init and located.file:
        raise UserError(f"{part.slot}.init={part.init}: starts a training from {part.slot}.weights=random only")
    start = find(part.init, f"{part.slot}.init", part) if part.init else None
    source = start or located
    if part.sha256 and not {"weights", "init"} & set(part.typed) and source.digest != part.sha256:
        named = f"{part.slot}.{'init' if start else 'weights'}={source.weights}"
        raise UserError(f"{named}: the file has changed since the run that is repeated")
    if located.file is None:
        weights, network, architecture = _random(part, seed, start)
    else:
        weights = _read(part, located)
        architecture = part.model | weights.architecture | _typed_arguments(part, weights.architecture)
        if weights.has_head:
            network = assign(architecture, weights.tensors, located.file)
        else:
            network = _with_random_head(part, weights, architecture, seed, located.file)
            random_head = any(True for _ in network.get_submodule(network.head_name).parameters())
        if random_head:
            log.warning("%s.weights=%s has no head (%s): it is random", part.slot, part.weights, network.head_name)
    preprocessing = settle_front_end(part, weights.preprocessing)
    settled = dataclasses.replace(
        part, model=architecture, preprocessing=preprocessing, weights=located.absolute,
        init=start and start.absolute, sha256=source.digest,
    )  # fmt: skip
    card = weights.card or {}
    return Loaded(
        part=settled,
        network=network.eval().requires_grad_(False),
        preprocessing=build_front_end(settled, network) if preprocessing else None,
        located=located,
        layout=weights.layout,
        untrained=located.file is None or random_head or bool(card.get("untrained")),
        training=card.get("training"),
        space=card.get("embeddings") or _own_space(part, located, card),
        estimates=weights.estimates,
    )


def _own_space(part: Part, located: Located, card: dict[str, Any]) -> dict[str, str] | None:
    """The space of a face encoder, which defines its own. Converted weights keep that of the original."""
    if part.modality != "face" or located.file is None:
        return None
    return {"choice": part.option, "sha256": card.get("source", {}).get("sha256") or located.digest}


def _typed_arguments(part: Part, brought: Description) -> Description:
    """The arguments of the network that win over those of the weights: the typed ones, or all in a repeated run."""
    if not part.from_weights:
        return {key: value for key, value in part.model.items() if key != "_target_"}
    typed = {key.removeprefix("model.").partition(".")[0] for key in part.typed if key.startswith("model.")}
    if "model" in part.typed:
        typed = part.model.keys() - {"_target_"}
    own = {key: part.model[key] for key in typed if key in part.model}
    for key, value in own.items():
        if key in brought and brought[key] != value:
            log.warning("%s.model.%s=%s wins over %s, which the weights bring", part.slot, key, value, brought[key])
    return own


def _random(part: Part, seed: int, start: Located | None) -> tuple[Weights, nn.Module, Description]:
    """A network with random weights, or with those of `start` in all layers except the head."""
    if start is None:
        network = _filled(part.model, seed, "random weights")
        return Weights({}, {}, None, "random"), network, part.model
    weights = _read(part, start)
    architecture = part.model | weights.architecture | _typed_arguments(part, weights.architecture)
    network = _with_random_head(part, weights, architecture, seed, start.file)
    log.info("%s starts from %s (%s), but for %s", part.slot, part.init, weights.layout, network.head_name)
    return dataclasses.replace(weights, tensors={}, card=None, estimates={}), network, architecture


def _with_random_head(part: Part, weights: Weights, architecture: Description, seed: int, file: Path) -> EncoderNetwork:
    """An encoder with the weights of a file in all layers except the head, which is random."""
    network = _filled(architecture, seed, str(file))
    if not isinstance(network, EncoderNetwork):
        raise UserError(f"{part.slot}.init: {architecture['_target_']} does not state its head (EncoderNetwork)")
    fresh = tuple(f"{name}." for name in (network.head_name, network.classifier_name) if name)
    body = {name: tensor for name, tensor in weights.tensors.items() if not name.startswith(fresh)}
    expected = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(fresh)}
    check_fit(shapes(expected), body, architecture, file)
    check_finite(body, file)
    network.load_state_dict(body, strict=False)
    return network


def _filled(architecture: Description, seed: int, name: str) -> nn.Module:
    """A network with random weights that depend on the seed only, even if other threads build networks, too."""
    with SEEDED:
        torch.manual_seed(seed)
        return checked(instantiate, architecture, name)


def _read(part: Part, located: Located) -> Weights:
    """Read a file of weights and recognise its layout."""
    state_dicts = read_state_dicts(located.file)
    if located.key is not None:
        state_dicts = select(state_dicts, located.key, located)
    card = located.beside.get("card") or read_card(located.file)
    if not card:
        return choose(state_dicts, part, located)
    trusted = {value for key, value in leaves(part.preprocessing or {}).items() if key.endswith("_target_")}
    preprocessing = check_card(card, located.file, part, trusted)
    tensors = state_dicts.get("", {})
    estimates = take_estimates(tensors, located.file)
    return Weights(tensors, card["architecture"], preprocessing, "ours", card, estimates=estimates)


def check_finite(tensors: Tensors, path: Path) -> None:
    """Raise UserError if a tensor has a value that is not a finite number."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            continue
        values = tensor if tensor.dtype in NUMPY_KNOWS else tensor.float()
        # A finite sum means that all values are finite. NumPy's takes less time than torch's on several threads.
        with np.errstate(all="ignore"):
            total = np.add.reduce(values.numpy(), axis=None, dtype=np.float32)
        if not np.isfinite(total) and not values.isfinite().all():  # the sum of large values overflows, too
            raise UserError(f"{path}: damaged weights: {name} has values that are not finite (NaN or infinite)")


def assign(architecture: Description, tensors: Tensors, path: Path) -> nn.Module:
    """Build a network that uses `tensors` as its own, without initialising or copying; fp16 and bf16 become fp32.

    Raises UserError if names or shapes differ, and for values that are not finite.
    """
    network = checked(Unfilled.build, architecture, str(path))
    expected = shapes(network.state_dict())
    tensors = tensors | {name: torch.tensor(0) for name in expected.keys() - tensors.keys() if is_counter(name)}
    _check_head(network, expected, shapes(tensors), path)
    check_fit(expected, tensors, architecture, path)
    check_finite(tensors, path)
    network.load_state_dict(tensors, assign=True)
    if any(tensor.is_meta for tensor in itertools.chain(network.parameters(), network.buffers())):
        network = instantiate(architecture)  # buffers outside the state dict need their values
        network.load_state_dict(tensors, assign=True)
    return network.float()


def _check_head(
    network: nn.Module, expected: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]], path: Path
) -> None:
    """Raise UserError for weights that fit but for the head: they were trained for something else."""
    wrong = {name for name in {**expected, **found} if expected.get(name) != found.get(name)}
    head = f"{network.head_name}." if isinstance(network, EncoderNetwork) else ""
    if head and wrong and wrong == {name for name in {**expected, **found} if name.startswith(head)}:
        raise UserError(
            f"{path}: gives no 4096-D embedding, because {difference(expected, found)}; a training can add a head to "
            f"the other layers: encoder.init={path}"
        )
