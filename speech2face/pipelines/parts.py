"""Build the parts of a pipeline: check and locate them first, and load them after torch is imported."""

import dataclasses
import logging
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, get_args

import yaml

from speech2face.config.compose import CONF
from speech2face.config.options import Options, Output, Reconstruct, Sampling
from speech2face.config.read import parts, with_parts
from speech2face.errors import UserError
from speech2face.weights.front_end import TAKES
from speech2face.weights.locate import Located, locate
from speech2face.weights.part import Part

if TYPE_CHECKING:
    from speech2face.inference.decoder import Prior
    from speech2face.inference.encoder import Encoder
    from speech2face.weights.load import Loaded

log = logging.getLogger(__name__)
PUBLISHED_DECODER = "speech2face.decoders.normalized.NormalizedFaceDecoder"


def check_modality(part: Part, wanted: str, giver: str) -> None:
    """Raise UserError, with the encoders that fit, if an encoder is not of the modality `wanted`.

    giver: the option that determines the encoder's input, for the message.
    """
    if part.modality != wanted:
        fit = [name for name, modality in _modalities().items() if modality == wanted]
        raise UserError(
            f"{part.slot}={part.option} takes {TAKES.get(part.modality, 'nothing known')}, but {giver} gives it "
            f"{TAKES[wanted]}; those that fit: {', '.join(fit)}"
        )


def _modalities() -> dict[str, str]:
    """The modality of each file in conf/encoder: its own, or that of the file that it extends."""
    files = {file.stem: yaml.safe_load(file.read_text()) for file in sorted((CONF / "encoder").glob("*.yaml"))}

    def modality(name: str) -> str:
        extended = [one for one in files[name].get("defaults", []) if isinstance(one, str) and one in files]
        return files[name].get("modality") or modality(extended[0])

    return {name: modality(name) for name in files}


def locate_parts(options: Options, but: Collection[str] = ()) -> dict[str, Located]:
    """Locate the weights of each slot, without importing torch. Raises UserError for weights that do not exist.

    but: slots that are not needed.
    """
    return {slot: locate(part) for slot, part in parts(options).items() if slot not in but}


def load_parts(options: Options, located: dict[str, Located]) -> dict[str, "Loaded"]:
    """Load the located parts with their weights, by slot. located: see locate_parts, all of it or some slots."""
    from speech2face.weights.load import load

    settled = {slot: of_its_class(part, located[slot]) for slot, part in parts(options).items() if slot in located}
    return {slot: load(part, options.seed, located[slot]) for slot, part in settled.items()}


def of_its_class(part: Part, located: Located) -> Part:
    """The decoder that the user's weights belong to, if they are of another one in conf/decoder than the default.

    Files in a published layout are those of `normalized`. Encoders and decoders of the user's own are returned as they
    are.
    """
    from speech2face.weights.ours import read_card

    ours = part.model["_target_"].startswith("speech2face.")
    if part.kind != "decoder" or not ours or located.file is None or "weights" not in part.typed:
        return part
    card = located.beside.get("card") or read_card(located.file) or {}
    target = card.get("architecture", {}).get("_target_", PUBLISHED_DECODER)
    for file in sorted((CONF / "decoder").glob("*.yaml")):
        model = yaml.safe_load(file.read_text()).get("model", {})
        if model.get("_target_") == target != part.model["_target_"]:
            typed = {key.removeprefix("model.") for key in part.typed if key.startswith("model.")}
            log.info("decoder.weights=%s: a decoder=%s", part.weights, file.stem)
            own = {key: value for key, value in part.model.items() if key in typed}
            return dataclasses.replace(part, option=file.stem, model=model | own)
    return part


def settled(options: Options, loaded: dict[str, "Loaded"], **changes: Any) -> Options:
    """The effective options, with the architectures and front ends of the loaded weights. They repeat the run.

    changes: other fields to replace.
    """
    return with_parts(options, {slot: one.part for slot, one in loaded.items()}, **changes)


def build_encoder(loaded: "Loaded", options: Options) -> "Encoder":
    """Put a loaded encoder on the device and in the precision of the options."""
    from speech2face.inference.encoder import Encoder
    from speech2face.inference.estimates import Estimates

    description = {"model": loaded.part.model, "preprocessing": loaded.part.preprocessing}
    how = {"device": options.device, "precision": options.precision, "batch_size": options.batch_size}
    estimates = Estimates(loaded.estimates)
    return Encoder(loaded.network, loaded.preprocessing, description=description, estimates=estimates, **how)


def without_unused(options: Reconstruct) -> Reconstruct:
    """The options without the prior, if no samples are drawn. It is not loaded then."""
    return (
        options if options.samples or not getattr(options, "prior", None) else dataclasses.replace(options, prior=None)
    )


def with_outputs(options: Reconstruct) -> Reconstruct:
    """The options with `write` as a list in one order. Raises UserError for samples of which nothing is written."""
    given = [options.write] if isinstance(options.write, str) else options.write
    if options.samples and "faces" not in given:
        raise UserError(f"samples={options.samples}: faces, which write={','.join(given)} leaves out; add faces to it")
    return dataclasses.replace(options, write=[one for one in get_args(Output) if one in given])


def build_prior(loaded: dict[str, "Loaded"], options: Sampling) -> "Prior | None":
    """The prior with its options, or None without one.

    Raises UserError if it was trained with other embeddings than encoder and decoder.
    """
    from speech2face.inference.decoder import Prior

    if "prior" not in loaded:
        return None
    if wrong := apart(loaded["prior"], loaded["decoder"]) or apart(loaded["encoder"], loaded["prior"]):
        raise UserError(wrong)
    return Prior(loaded["prior"].network, options.guidance, options.steps, options.truncation)


def untrained(loaded: dict[str, "Loaded"]) -> str | None:
    """A warning that names the parts with random weights, or None if there are none."""
    named = [slot for slot, one in loaded.items() if one.untrained]
    if not named:
        return None
    return f"UNTRAINED: random weights in the {' and the '.join(named)}; the faces mean nothing"


def apart(encoder: "Loaded", decoder: "Loaded") -> str:
    """A warning if two parts were trained with the embeddings of different face encoders, else "".

    encoder: an encoder or a prior, which gives embeddings. decoder: a decoder or a prior, which takes them.
    """
    gives, takes = encoder.space, decoder.space
    if not gives or not takes or gives["sha256"] == takes["sha256"]:
        return ""
    return (
        f"{encoder.part.slot}.weights={encoder.part.weights} give the embeddings of {gives['choice']}, but "
        f"{decoder.part.slot}.weights={decoder.part.weights} were trained with those of {takes['choice']}: "
        "the faces mean nothing; "
        "bundled/talkers and bundled each go together"
    )
