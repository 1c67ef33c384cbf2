"""What features tell about a person: probes of face features, and what the parameters of a voice let one predict."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

COMPONENTS = 256
CHUNK = 4096


def fit_classifier(
    features: np.ndarray, labels: np.ndarray, people: np.ndarray | None = None, seed: int = 0
) -> Pipeline:
    """Linear probe of a category: standardised features, principal components, logistic regression.

    features: (n, d); labels: (n,) any type, every class of three people at least; people: (n,) whose row it is (None:
    each another's). The penalty is chosen by cross-validation over people. Returns the fitted scikit-learn pipeline, to
    use with `predict`. Raises ValueError for one class alone, and for features that are not finite.
    """
    features, labels = _checked(features, labels)
    if len(np.unique(labels)) < 2:
        raise ValueError("a classifier needs two classes")
    model = LogisticRegression(max_iter=1000)
    return _fit(model, {"C": np.logspace(-5, 1, 7)}, "neg_log_loss", features, labels, people, seed)


def fit_regressor(
    features: np.ndarray, values: np.ndarray, people: np.ndarray | None = None, seed: int = 0
) -> Pipeline:
    """Linear probe of a quantity such as age: standardised features, principal components, ridge regression.

    features: (n, d); values: (n,) finite numbers; people, the penalty and what is returned: as for `fit_classifier`.
    """
    features, values = _checked(features, np.asarray(values, np.float64))
    return _fit(Ridge(), {"alpha": np.logspace(-1, 7, 17)}, "neg_mean_squared_error", features, values, people, seed)


def _fit(
    model: BaseEstimator, grid: dict, score: str, features: np.ndarray, truth: np.ndarray, people, seed
) -> Pipeline:
    people = np.arange(len(truth)) if people is None else people
    if len(np.unique(people)) < 3 or not (truth.dtype.kind in "USO" or np.isfinite(truth).all()):
        raise ValueError("a probe needs three people, and finite values")
    folds = GroupKFold(3) if truth.dtype.kind == "f" else StratifiedGroupKFold(3)
    search = GridSearchCV(model, grid, cv=folds, scoring=score, error_score="raise")
    components = PCA(min(COMPONENTS, *features.shape), svd_solver="randomized", random_state=seed)
    return make_pipeline(StandardScaler(), components, search).fit(features, truth, gridsearchcv__groups=people)


def ideal_listener(parameters: np.ndarray, features: np.ndarray, seed: int = 0) -> TransformedTargetRegressor:
    """Regression of face features on a voice's true parameters: what a listener who hears all of them could predict.

    parameters: (n, p), one row per person, numbers and one-hot categories, all finite; features: (n, d). An estimate of
    the features' conditional mean by kernel ridge regression on 1000 landmarks (Williams and Seeger, "Using the Nystrom
    method to speed up kernel machines", NIPS 2000), for each of the features' leading principal components with its own
    penalty, as most of them cannot be heard; penalties and kernel width by leave-one-out cross-validation over people.
    Returns the fitted scikit-learn model, to use with `predict`. Raises ValueError for fewer than ten rows and for
    anything not finite.
    """
    parameters, features = _checked(parameters, np.asarray(features, np.float32))
    if len(features) < 10 or not np.isfinite(features).all():
        raise ValueError("an ideal listener needs ten people, and finite features")
    listeners = []
    for gamma in (0.003, 0.01, 0.03, 0.1):
        model = make_pipeline(
            StandardScaler(),
            Nystroem(gamma=gamma, n_components=min(1000, len(parameters)), random_state=seed),
            RidgeCV(alphas=np.logspace(-3, 3, 13), alpha_per_target=True),
        )
        components = PCA(min(64, *features.shape), svd_solver="randomized", random_state=seed)
        listener = TransformedTargetRegressor(model, transformer=components, check_inverse=False)
        listeners.append(listener.fit(parameters, features))
    return max(listeners, key=lambda listener: np.sum(listener.regressor_[-1].best_score_))


def predict(probe: BaseEstimator, features: np.ndarray, chunk: int = CHUNK) -> np.ndarray:
    """Predictions, (n,) or (n, k), of a fitted model for (n, d) rows, maybe memory-mapped, `chunk` at a time."""
    parts = [probe.predict(np.asarray(features[i : i + chunk], np.float32)) for i in range(0, len(features), chunk)]
    return np.concatenate(parts)


def _checked(features: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    features, truth = np.asarray(features, np.float32), np.asarray(truth)
    if features.ndim != 2 or len(features) != len(truth):
        raise ValueError(f"features {features.shape} must be rows, as many as the {len(truth)} to learn from")
    if not np.isfinite(features).all():
        raise ValueError("features must be finite")
    return features, truth
