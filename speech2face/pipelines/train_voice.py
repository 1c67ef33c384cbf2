"""`pipeline=train_voice`: train a voice encoder on a dataset in the project's layout, or on several at once."""

import dataclasses
import logging
from functools import partial

from speech2face.config.options import TrainVoice
from speech2face.errors import UserError
from speech2face.pipelines.pairs import Source, mix, pair
from speech2face.pipelines.parts import build_encoder
from speech2face.pipelines.resume import check_resumed
from speech2face.pipelines.training import Job, begin, carry_out, common, learns, load
from speech2face.run.record import Run

log = logging.getLogger(__name__)


def train_voice(options: TrainVoice, run: Run) -> int:
    """Train options.encoder to predict, from a recording, the embedding of a photo of the speaker.

    options.face makes the embeddings of photos. People without a photo take part in the terms traits and consistency.
    Returns 1 if a file could not be read, else 0.
    """
    options, dataset, people = begin(options, run, "speech")
    options, mixed = mix(options, run)
    from speech2face.decoders.base import TrainableDecoder
    from speech2face.encoders.base import EncoderNetwork
    from speech2face.inference.decoder import Decoder
    from speech2face.training.sheets import draw_voices
    from speech2face.training.traits import learnt_traits
    from speech2face.training.voice import VoiceTraining

    training = options.training
    loaded = load(options, run)
    encoder, decoder = loaded["encoder"], loaded["decoder"]
    if not isinstance(encoder.network, EncoderNetwork):
        raise UserError(f"encoder={options.encoder.option}: its class is no EncoderNetwork (speech2face.encoders.base)")
    face = build_encoder(loaded["face"], options)
    losses = dict(training.losses)
    if losses["distillation"] and not getattr(face.network, "classifies", False):
        log.warning("distillation is off: face.weights=%s have no classification layer", options.face.weights)
        losses["distillation"] = 0.0
    if losses["layer"] and not isinstance(decoder.network, TrainableDecoder):
        raise UserError("training.losses.layer: the decoder's class is no TrainableDecoder (speech2face.decoders.base)")
    sources: list[Source] = [(dataset, people), *mixed.values()]
    heads = learnt_traits([(one, some["train"]) for one, some in sources], training.traits if losses["traits"] else [])
    losses["traits"] = losses["traits"] if heads else 0.0
    if not any(losses.values()):
        raise UserError("training.losses: all are switched off")
    training = dataclasses.replace(training, losses=losses)
    options = dataclasses.replace(options, training=training)
    check_resumed(options, run, loaded, dataset, people, mixed)
    pairs = pair(
        options,
        run,
        sources,
        encoder,
        face,
        heads,
        alone=bool(losses["traits"] or losses["consistency"]),
        second=losses["consistency"] > 0,
        frozen=options.encoder.train == "head",
    )
    frozen = {"layer": decoder.network.first_layer} if losses["layer"] else {}
    module = VoiceTraining(
        encoder.network,
        classes={trait: head.classes for trait, head in heads.items()},
        frozen=frozen | {"face": face.network},
        head_epochs=training.head_epochs,
        learns=learns(options, encoder),
        later_lr=training.later_lr,
        **common(options),
    )
    drawing = Decoder(decoder.network, options.device, options.precision)
    draw = partial(draw_voices, rows=pairs.shown, photos=pairs.photos, decoder=drawing)
    return carry_out(options, run, Job(loaded, module, pairs.sets["train"], pairs.sets["val"], draw, pairs.errors))
