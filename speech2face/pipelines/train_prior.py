"""`pipeline=train_prior`: train a prior on a dataset in the project's layout, or on several at once."""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from speech2face.config.options import TrainPrior
from speech2face.errors import UserError
from speech2face.pipelines.pairs import Pairs, mix, pair
from speech2face.pipelines.parts import apart, build_encoder
from speech2face.pipelines.resume import check_resumed
from speech2face.pipelines.training import Job, begin, carry_out, common, load
from speech2face.run.record import Run

if TYPE_CHECKING:
    from speech2face.inference.decoder import Decoder
DRAWN = 2000  # faces that are drawn to measure traits on them


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
    decoder = Decoder(loaded["decoder"].network, options.device, options.precision, prior=Prior(prior.network))
    if prior.untrained:
        with run.stage("fit"):
            fit_prior(prior.network, encoder.network, pairs.sets["train"], options.seed, options.training.balanced)
            prior.network.fit_traits(pairs.faces, traits_of(pairs, decoder))
    module = PriorTraining(
        prior.network,
        noise=options.training.noise,
        dropped=options.training.dropped,
        frozen={"encoder": encoder.network},
        **common(options),
    )
    draw = partial(draw_samples, rows=pairs.shown, decoder=decoder)
    return carry_out(options, run, Job(loaded, module, pairs.sets["train"], pairs.sets["val"], draw, pairs.errors))


def traits_of(pairs: Pairs, decoder: "Decoder") -> dict[str, np.ndarray]:
    """Traits (n,) by name, NaN where unknown, of the faces of the pairs: known from people.csv, or measured.

    Sex is 0 male, 1 female. What is measured is measured on the faces that the decoder draws, of DRAWN people at most.
    """
    from speech2face.inference.heard import measure

    dataset, owners = pairs.owners
    traits = dataset.columns(["sex", "age"], owners)
    if "sex" in traits:
        traits["sex"] = np.where(traits["sex"] == "", np.nan, traits["sex"] == "female")
    chosen = np.linspace(0, len(owners) - 1, min(DRAWN, len(owners))).astype(int)
    parts = np.array_split(chosen, -(-len(chosen) // 32))
    drawn = [measure(one.typical) for part in parts for one in decoder(pairs.faces[part])]
    for name in drawn[0]:
        traits[name] = np.full(len(owners), np.nan)
        traits[name][chosen] = [one[name] for one in drawn]
    return traits
