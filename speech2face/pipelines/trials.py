"""`trials=LIST`: verification of the pairs of files in a list, and the scores of each."""

import itertools
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from speech2face.config.options import Evaluate
from speech2face.data.trials import Trial, is_photo, read_trials
from speech2face.errors import UserError
from speech2face.files import atomic, csv_line
from speech2face.pipelines.conclude import conclude, published
from speech2face.pipelines.parts import build_encoder, load_parts, locate_parts, settled, untrained
from speech2face.run.process import quick_imports
from speech2face.run.record import Run
from speech2face.run.results import write_failures

if TYPE_CHECKING:
    import numpy as np

    from speech2face.evaluation.metrics import Metric
    from speech2face.inference.encoder import Encoder

log = logging.getLogger(__name__)


@dataclass
class Listed:
    """The trials of a list. bases: the directories that the paths of recordings and of photos are relative to."""

    trials: list[Trial]
    bases: dict[str, Path]


def evaluate_trials(options: Evaluate, run: Run) -> int:
    """Evaluate a list of trials without a dataset. Returns 1 if a file could not be read, else 0."""
    located, listed = locate_parts(options), find_trials(options)
    with quick_imports():
        import torch  # noqa: F401
    run.imported()
    from speech2face.evaluation.evaluation import Evaluation, Outcome
    from speech2face.evaluation.report import write_metrics
    from speech2face.evaluation.summary import sentence

    with run.stage("load"):
        loaded = load_parts(options, located)
        encoder, face = (build_encoder(loaded[slot], options) for slot in ("encoder", "face"))
    if warning := untrained(loaded):
        log.warning(warning)
    run.record["weights"] = {slot: one.record() for slot, one in loaded.items()}
    run.save_options(settled(options, loaded, precision=encoder.precision))
    run.save(device=str(encoder.device), precision=encoder.precision, seed=options.seed)
    errors: dict[str, str] = {}
    with run.stage("encode"):
        scored = score_trials(listed, options, encoder, face, run.directory, errors)
    write_failures(run.directory, Path(), errors)
    about = {"trials": len(listed.trials), "failed": len(errors)}
    run.save(counts=about)
    evaluation = Evaluation({"encoder": Outcome(scored, {}, {}, None)}, {}, None, None, None)
    metrics = write_metrics(run.directory, evaluation, about | published(options), options.samples)
    conclude(run, about, metrics, [sentence(name, row) for name, row in metrics.items()])
    return int(bool(errors))


def find_trials(options: Evaluate) -> Listed:
    """Read the list, and find the directories of its files: data.audios or data.images, data.root, or the list's own.

    Raises UserError for a list that cannot be read, and if the first recording or photo is in none of these.
    """
    file = Path(options.trials).expanduser()
    trials = read_trials(file, f"trials={options.trials}")
    bases = {}
    for modality, place in (("speech", options.data.audios), ("face", options.data.images)):
        first = next((path for one in trials for path in (one.left, one.right) if _modality(path) == modality), None)
        places = [Path(one).expanduser().absolute() for one in (place, options.data.root, file.parent) if one]
        if first is not None:
            bases[modality] = next((one for one in places if (one / first).exists()), None)
        if first is not None and bases[modality] is None:
            option = "data.audios=" if modality == "speech" else "data.images="
            raise UserError(f"trials={options.trials}: no {first} in {', '.join(map(str, places))}; give {option}")
    if "speech" in bases and options.encoder.modality != "speech":
        raise UserError(f"trials={options.trials}: has recordings, and encoder={options.encoder.option} takes photos")
    return Listed(trials, bases)


def score_trials(
    listed: Listed, options: Evaluate, encoder: "Encoder", face: "Encoder", directory: Path, errors: dict[str, str]
) -> "dict[str, Metric]":
    """Score all trials, write trials.csv and submission.txt, and return the metrics of the labelled ones.

    The score is the cosine of the two embeddings, of recordings by `encoder` and of photos by `face`. submission.txt
    has the Euclidean distance of the embeddings at length one, as the FAME challenge wants it, if the trials have
    names. errors: gets the reasons, by path, for files that could not be read; their trials have no score.
    """
    import numpy as np

    from speech2face.evaluation.verification import cosines
    from speech2face.inference.cache import embed

    embedded = {}
    for modality, base in listed.bases.items():
        paths = [path for one in listed.trials for path in (one.left, one.right) if _modality(path) == modality]
        network, name = (encoder, "recordings") if modality == "speech" else (face, "photos")
        found = embed(base, paths, network, Path(options.cache).expanduser(), options.workers, f"{name} of trials")
        errors |= {str(base / path): error for path, error in found.errors.items()}
        embedded[modality] = found.of(list(found.digests)), {path: row for row, path in enumerate(found.digests)}
    rows = {path: row for _, own in embedded.values() for path, row in own.items()}
    good = [one for one in listed.trials if one.left in rows and one.right in rows]
    scores = np.empty(len(good), np.float32)
    for left, right in itertools.product(embedded, embedded):
        pairs = [i for i, one in enumerate(good) if (_modality(one.left), _modality(one.right)) == (left, right)]
        numbers = ([rows[good[i].left] for i in pairs], [rows[good[i].right] for i in pairs])
        scores[pairs] = cosines(embedded[left][0], embedded[right][0], *numbers)
    _write(directory, good, scores)
    return _metrics(good, scores, options)


def _write(directory: Path, trials: list[Trial], scores: "np.ndarray") -> None:
    with atomic(directory / "trials.csv") as partial, open(partial, "wb") as file:
        file.write(csv_line(["trial", "left", "right", "same", "cosine"]))
        for one, score in zip(trials, scores, strict=True):
            same = "" if one.same is None else int(one.same)
            file.write(csv_line([one.name, one.left, one.right, same, f"{score:.6g}"]))
    if all(one.name for one in trials):
        with atomic(directory / "submission.txt") as partial:
            lines = (
                f"{one.name} {max(2 - 2 * float(score), 0.0) ** 0.5:.6f}\n"
                for one, score in zip(trials, scores, strict=True)
            )
            partial.write_text("".join(lines))


def _metrics(trials: list[Trial], scores: "np.ndarray", options: Evaluate) -> "dict[str, Metric]":
    """Equal error rate and area under the curve, with intervals over people where the paths tell who they are."""
    import numpy as np

    from speech2face.evaluation.metrics import Estimator
    from speech2face.evaluation.verification import Trials

    same = np.array([bool(one.same) for one in trials])
    if any(one.same is None for one in trials) or len(set(same)) < 2:
        log.warning("trials=%s: not labelled as of one person and of two: no equal error rate", options.trials)
        return {}
    left, right = np.arange(len(trials)), None
    if all(one.same == (one.people[0] == one.people[1]) for one in trials):
        _, codes = np.unique([one.people for one in trials], return_inverse=True)
        left, right = codes.reshape(-1, 2).T
    people = 1 + max(left.max(), left.max() if right is None else right.max())
    estimator = Estimator(np.arange(people), options.samples, options.seed)
    measured = Trials(scores, same, left, right)
    return {
        "association/verification/listed/equal_error_rate": estimator(measured.equal_error_rate, 0.5),
        "association/verification/listed/auc": estimator(measured.auc, 0.5),
    }


def _modality(path: str) -> str:
    return "face" if is_photo(path) else "speech"
