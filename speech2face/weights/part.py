"""A part of a pipeline as the configuration describes it: a network, its weights and its front end."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from msgspec import Meta

Description = dict[str, Any]  # of an object: its class (_target_) and its arguments, which are YAML values


@dataclass(kw_only=True, frozen=True)
class Part:
    """The description of a part in a named slot: `encoder`, `face`, `decoder`, `prior` or `voices.NAME`."""

    modality: Annotated[Literal["speech", "face"] | None, Meta(description="input of an encoder")] = None
    weights: Annotated[
        str | None,
        Meta(description="bundled, a file, FILE::KEY (a state dict in it), a directory, a hub id, or random"),
    ] = None
    init: Annotated[
        str | None, Meta(description="weights that training starts from, without the head: a file or a hub id")
    ] = None
    train: Annotated[
        str,
        Meta(description="what a training changes: head, last:N (the last N stages and the head), or all",
             title="head, last:N or all", pattern="^(head|last:[1-9][0-9]*|all)$"),
    ] = "all"  # fmt: skip
    sha256: Annotated[str | None, Meta(description="SHA-256 of the weights, or of init, of a run that is repeated")] = (
        None
    )
    model: Annotated[Description, Meta(description="class of the network (_target_) and its arguments")]
    preprocessing: Annotated[Description | None, Meta(description="front end of an encoder")] = None

    # Set by speech2face.config.read, not by the configuration.
    slot: str = "encoder"
    option: str = ""  # chosen in the configuration group, such as ast
    typed: tuple[str, ...] = ()  # keys below the slot that the user typed; they win over the weights
    from_weights: bool = True  # False: ignore the architecture and front end that the weights bring

    @property
    def kind(self) -> Literal["encoder", "decoder", "prior"]:
        """The configuration group of the slot."""
        return self.slot if self.slot in ("decoder", "prior") else "encoder"
