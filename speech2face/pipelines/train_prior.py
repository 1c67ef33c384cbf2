"""`pipeline=train_prior`: train a prior on a dataset in the project's layout, or on several at once."""

from functools import partial

from speech2face.config.options import TrainPrior
from speech2face.errors import UserError
from speech2face.pipelines.pairs import mix, pair
from speech2face.pipelines.parts import apart, build_encoder
from speech2face.pipelines.resume import check_resumed
from speech2face.pipelines.training import Job, begin, carry_out, common, load
from speech2face.run.record import Run


def train_prior(options: TrainPrior, run: Run) -> int:
    """Train options.prior to draw, given the embedding of a recording, embeddings of photos that it is paired with.

    options.encoder makes the embeddings of recordings, options.face those of photos, and options.decoder draws the
    sheets. Returns 1 if a file could not be read, else 0. Raises UserError if these parts do not belong together.
    """
    options, dataset, people = begin(options, run, "speech")
    options, mixed = mix(options, run)
    from speech2face.inference.decoder import Decoder, Prior
    from speech2face.training.prior import PriorTraining, fit_prior
    from speech2face.training.sheets import draw_samples

    loaded = load(options, run)
    encoder, prior = loaded["encoder"], loaded["prior"]
    if wrong := apart(encoder, loaded["face"]):
        raise UserError(wrong)
    face = build_encoder(loaded["face"], options)
    check_resumed(options, run, loaded, dataset, people, mixed)
    pairs = pair(options, run, [(dataset, people), *mixed.values()], encoder, face)
    if prior.untrained:
        with run.stage("fit"):
            fit_prior(prior.network, encoder.network, pairs.sets["train"], options.seed, options.training.balanced)
    module = PriorTraining(
        prior.network,
        noise=options.training.noise,
        dropped=options.training.dropped,
        frozen={"encoder": encoder.network},
        **common(options),
    )
    decoder = Decoder(loaded["decoder"].network, options.device, options.precision, 8, prior=Prior(prior.network))
    draw = partial(draw_samples, rows=pairs.shown, decoder=decoder)
    return carry_out(options, run, Job(loaded, module, pairs.sets["train"], pairs.sets["val"], draw, pairs.errors))
