"""`pipeline=convert`: any readable checkpoint -> the project's format."""

import dataclasses
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from speech2face.config.options import Convert
from speech2face.errors import UserError
from speech2face.run.record import Run
from speech2face.weights.locate import OUR_CARD, OUR_TENSORS, Located, locate

if TYPE_CHECKING:
    from speech2face.weights.layout import Tensors

log = logging.getLogger(__name__)


def convert(options: Convert, run: Run) -> int:
    """Write the weights of `part` to the run's directory, with their architecture and front end. Returns 0.

    With `average`, write the mean of these weights and further weights of the same network. Raises UserError for
    weights of different networks, and for a directory that holds weights already.
    """
    part = options.chosen
    located = [locate(dataclasses.replace(part, weights=weights)) for weights in (part.weights, *options.average)]
    check_apart(run.directory, located)
    from speech2face.weights.load import load
    from speech2face.weights.ours import save

    with run.stage("load"):
        loaded = [load(dataclasses.replace(part, weights=one.weights), options.seed, one) for one in located]
    first = loaded[0]
    if any(one.part.model != first.part.model for one in loaded):
        raise UserError(f"average={options.average}: weights of other networks than {part.slot}.weights={part.weights}")
    tensors = mean([one.network.state_dict() for one in loaded])
    architecture = dict(first.part.model)
    if options.slim:
        tensors = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
        if architecture.get("classes") and tensors.pop("classifier.weight", None) is not None:
            architecture["classes"] = 0
    run.save_options(dataclasses.replace(options, **{options.part: first.part}))
    card = first.card() | {"architecture": architecture, "untrained": any(one.untrained for one in loaded)}
    estimates = first.estimates
    if len(loaded) > 1:  # the estimates are those of one network
        card["mean_of"] = [one.source() | {"training": one.training} for one in loaded]
        estimates = {}
    with run.stage("write"):
        save(run.directory, tensors, card, estimates)
    run.record["weights"] = {options.part: first.record() | {"untrained": card["untrained"]}}
    log.info(
        "%s weights (%s) in our format; use them with %s.weights=%s",
        first.layout,
        options.part,
        options.part,
        run.directory,
    )
    return 0


def check_apart(directory: Path, sources: list[Located]) -> None:
    """Raise UserError if `directory` is that of a source, by whatever name, or holds other weights in our format."""
    way_out = "convert writes over no weights; give another directory by hydra.run.dir="
    for source in sources:
        if source.file and directory.samefile(source.file.resolve().parent):
            raise UserError(f"{directory}: the directory of {source.weights}, which is converted; {way_out}")
    if found := [name for name in (OUR_TENSORS, OUR_CARD) if os.path.lexists(directory / name)]:
        raise UserError(f"{directory}: holds a {found[0]} already; {way_out}")


def mean(networks: "list[Tensors]") -> "Tensors":
    """The mean of the tensors of networks of one architecture. Integer tensors are those of the first network."""
    first, *others = networks
    return {
        name: sum((one[name] for one in others), tensor) / len(networks)
        if others and tensor.is_floating_point()
        else tensor
        for name, tensor in first.items()
    }
