"""A part of a pipeline as the configuration describes it: a network, its weights and its front end."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta


@dataclass(kw_only=True, frozen=True)
class Part:
    """An encoder or a decoder in a named slot of a pipeline (`encoder`, `face`, `decoder`, `voices.NAME`)."""

    modality: Annotated[Literal["speech", "face"] | None, Meta(description="what an encoder takes")] = None
    weights: Annotated[str | None, Meta(description="bundled, a file, a directory, a hub id, or random")] = None
    init: Annotated[
        str | None, Meta(description="weights that training starts from, all but the head: a file or a hub id")
    ] = None
    sha256: Annotated[str | None, Meta(description="of the file of weights, where a run is repeated")] = None
    model: Annotated[dict[str, Any], Meta(description="class of the network (_target_) and its arguments")]
    preprocessing: Annotated[dict[str, Any] | None, Meta(description="front end of an encoder")] = None

    # What the reader of the configuration adds: see speech2face.config.read.
    slot: str = "encoder"
    option: str = ""  # the option chosen in the group, such as ast
    typed: tuple[str, ...] = ()  # keys below the slot that the user typed: they win over the weights'
    from_weights: bool = True  # False: exactly as described, whatever the weights bring

    @property
    def kind(self) -> Literal["encoder", "decoder"]:
        """The configuration group that the slot is filled from."""
        return "decoder" if self.slot == "decoder" else "encoder"
