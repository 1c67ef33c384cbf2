"""What features tell about a person: probes of face features, and what the parameters of a voice let one predict."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

COMPONENTS = 256
CHUNK = 4096


def fit_classifier(features: np.ndarray, labels: np.ndarray, seed: int = 0) -> Pipeline:
    """Linear probe of a category: standardised features, principal components, logistic regression.

    features: (n, d), one row per person or clip; labels: (n,) any type, every class at least three times. The penalty
    is chosen by cross-validation. Returns the fitted scikit-learn pipeline, to use with `predict`. Raises ValueError
    for one class alone, for a class with fewer than three rows, and for features that are not finite.
    """
    features, labels = _checked(features, labels)
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2 or counts.min() < 3:
        found = ", ".join(f"{name}: {count}" for name, count in zip(classes, counts, strict=True))
        raise ValueError(f"a classifier needs two classes and three examples of each, not {found}")
    model = GridSearchCV(LogisticRegression(max_iter=1000), {"C": np.logspace(-5, 1, 7)}, cv=3, scoring="neg_log_loss")
    return make_pipeline(StandardScaler(), _components(features, seed), model).fit(features, labels)


def fit_regressor(features: np.ndarray, values: np.ndarray, seed: int = 0) -> Pipeline:
    """Linear probe of a quantity such as age: standardised features, principal components, ridge regression.

    features: (n, d); values: (n,) or (n, k) finite numbers. The penalty is chosen by leave-one-out cross-validation.
    Returns the fitted scikit-learn pipeline, to use with `predict`. Raises ValueError for fewer than three rows and for
    anything not finite.
    """
    features, values = _checked(features, np.asarray(values, np.float64))
    if len(values) < 3 or not np.isfinite(values).all():
        raise ValueError("a regressor needs three rows, and finite values")
    model = RidgeCV(alphas=np.logspace(-1, 7, 17))
    return make_pipeline(StandardScaler(), _components(features, seed), model).fit(features, values)


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


def _components(features: np.ndarray, seed: int) -> PCA:
    return PCA(min(COMPONENTS, *features.shape), svd_solver="randomized", random_state=seed)
