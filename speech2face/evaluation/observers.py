"""The observers of simulated people: estimates of the best prediction of an embedding from a voice, or from traits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from speech2face.evaluation.probes import as_rows
from speech2face.inference.cache import Embeddings
from speech2face.talkers.traits import SHARED, VOICE

TRUTH = (*SHARED, *VOICE)
FITTED_PEOPLE = 100  # fewest people that the simulation's observers are fitted on
LANDMARKS, COMPONENTS, TREES, FOLDS = 200, 64, 100, 3
GAMMAS = (0.003, 0.01, 0.03, 0.1)  # of the kernel
Columns = Callable[[Sequence[str], list[str]], dict[str, np.ndarray]]  # see Dataset.columns


@dataclass
class Observer:
    """A regression from parameters (n, p) to embeddings (n, d), fitted on some people.

    regressor: what was chosen, in words. explained: share of the embeddings' variance that it explains of people on
    whom it was not fitted, by cross-validation. columns: (p,) bool, the parameters that the model takes.
    """

    regressor: str
    explained: float
    model: RegressorMixin
    components: PCA
    columns: np.ndarray

    def predict(self, parameters: np.ndarray) -> np.ndarray:
        """Embeddings (n, d) float32 that are expected for parameters (n, p)."""
        parameters = np.asarray(parameters, np.float64)[:, self.columns]
        found = np.asarray(self.model.predict(parameters)).reshape(len(parameters), -1)
        return self.components.inverse_transform(found).astype(np.float32)


def ideal_observer(parameters: np.ndarray, embeddings: np.ndarray, seed: int = 0) -> Observer:
    """Regression from the true parameters of a voice to embeddings: an estimate of the best that a voice allows.

    parameters: (n, p) finite numbers and one-hot categories, one row per person. embeddings: (n, d).

    The conditional mean of the 64 leading principal components of the embeddings is estimated by two regressors, with
    and without the categories: kernel ridge regression on 200 landmarks (Williams and Seeger, "Using the Nystrom method
    to speed up kernel machines", NIPS 2000), each component with its own penalty, and extremely randomised trees
    (Geurts et al., Machine Learning 63, 2006). The one that is best in threefold cross-validation over people is taken.

    Raises ValueError for fewer than ten rows, and for values that are not finite.
    """
    parameters, embeddings = as_rows(parameters, np.asarray(embeddings, np.float32))
    if len(embeddings) < 10 or not np.isfinite(embeddings).all():
        raise ValueError("an ideal observer needs ten people, and finite embeddings")
    components = PCA(min(COMPONENTS, *embeddings.shape), svd_solver="randomized", random_state=seed)
    targets, variance = components.fit_transform(embeddings), float(embeddings.var(axis=0).sum())
    every = np.ones(parameters.shape[1], bool)
    numbers = np.array([len(np.unique(column)) > 2 for column in parameters.T])
    found = []
    for columns in [every, numbers] if numbers.any() and not numbers.all() else [every]:
        causes = parameters[:, columns].astype(np.float64)
        what = "" if columns.all() else " without the categories"
        for name, make in (("kernel ridge regression", _kernel_ridge), ("randomised trees", _trees)):
            explained = 0.0
            for learnt, held_out in KFold(FOLDS, shuffle=True, random_state=seed).split(causes):
                guess = make(causes[learnt], targets[learnt], seed).predict(causes[held_out])
                middle = targets[held_out] - targets[learnt].mean(0)
                gained = (middle**2).sum() - ((np.reshape(guess, middle.shape) - targets[held_out]) ** 2).sum()
                explained += float(gained) / max(variance, 1e-12) / len(causes)
            found.append((explained, name + what, make, columns))
    explained, name, make, columns = max(found, key=lambda one: one[0])
    model = make(parameters[:, columns].astype(np.float64), targets, seed)
    return Observer(name, explained, model, components, columns)


def _kernel_ridge(causes: np.ndarray, targets: np.ndarray, seed: int) -> RegressorMixin:
    """Penalties and the width of the kernel are those with the least error when one person at a time is left out."""
    models = [
        make_pipeline(
            StandardScaler(),
            Nystroem(gamma=gamma, n_components=min(LANDMARKS, len(causes)), random_state=seed),
            RidgeCV(alphas=np.logspace(-3, 4, 15), alpha_per_target=True),
        ).fit(causes, targets)
        for gamma in GAMMAS
    ]
    return max(models, key=lambda model: np.sum(model[-1].best_score_))


def _trees(causes: np.ndarray, targets: np.ndarray, seed: int) -> RegressorMixin:
    leaf = max(5, len(causes) // 200)
    return ExtraTreesRegressor(TREES, min_samples_leaf=leaf, random_state=seed).fit(causes, targets)


def fit_observers(
    columns: Columns, train: list[str], train_embeddings: Embeddings, queried: list[str], seed: int
) -> tuple[dict[str, Embeddings], dict[str, float | str]]:
    """Embeddings (n, 4096) of queries by the observers "ideal" and "traits", and a record of the ideal observer.

    columns: of people.csv. train: (t,) the person of each training photo. train_embeddings: (t, 4096). queried: (n,)
    the person of each query. Both results are empty if the people are not simulated. The record has only `refused`,
    the reason, if there are fewer than 100 people to fit on. Otherwise it has `people`, `regressor`, `explained` (see
    Observer), and `explained_by_half`: the same if fitted on half of the people.
    """
    truth = columns(TRUTH, [*train, *queried])
    if len(truth) < len(TRUTH):
        return {}, {}
    people, person = np.unique(train, return_inverse=True)
    names, query = np.unique(queried, return_inverse=True)
    causes = {name: _matrix(columns(used, [*people, *names])) for name, used in (("ideal", VOICE), ("traits", SHARED))}
    known = np.all([np.isfinite(one[: len(people)]).all(1) for one in causes.values()], axis=0)
    if known.sum() < FITTED_PEOPLE:
        return {}, {"refused": f"{known.sum()} training people are too few to fit it, {FITTED_PEOPLE} are needed"}
    embeddings = np.zeros((len(people), train_embeddings.shape[1]), np.float32)
    np.add.at(embeddings, person, np.asarray(train_embeddings))
    embeddings /= np.bincount(person)[:, None]
    observers, record = {}, {}
    for name, all_causes in causes.items():
        rows, asked = all_causes[: len(people)][known], all_causes[len(people) :]
        observer = ideal_observer(rows, embeddings[known], seed)
        asked = np.where(np.isfinite(asked), asked, rows.mean(0))  # the mean where unknown
        observers[name] = Embeddings(observer.predict(asked), query)
        if name == "ideal":
            half = np.random.default_rng(seed).permutation(len(rows))[: len(rows) // 2]
            record = {"people": len(rows), "regressor": observer.regressor, "explained": observer.explained}
            record["explained_by_half"] = ideal_observer(rows[half], embeddings[known][half], seed).explained
    return observers, record


def _matrix(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Columns of n values -> (n, p) float64: numbers as they are, text one-hot."""
    parts = []
    for values in columns.values():
        parts.append(values[:, None] == np.unique(values) if values.dtype.kind == "U" else values[:, None])
    return np.concatenate(parts, axis=1, dtype=np.float64)
