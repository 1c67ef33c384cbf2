"""Linear probes of traits in embeddings."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

COMPONENTS = 256
CHUNK = 4096


def fit_classifier(
    embeddings: np.ndarray, labels: np.ndarray, people: np.ndarray | None = None, seed: int = 0
) -> Pipeline:
    """Linear probe of a category: standardised embeddings, 256 principal components, logistic regression.

    embeddings: (n, d). labels: (n,) any type; each class needs at least three people. people: (n,) the person of each
    row; None if every row is another person. The penalty is chosen by threefold cross-validation over people.

    Returns the fitted scikit-learn pipeline, for `predict`. Raises ValueError if there is only one class, for fewer
    than three people, and for embeddings that are not finite.
    """
    embeddings, labels = as_rows(embeddings, labels)
    if len(np.unique(labels)) < 2:
        raise ValueError("a classifier needs two classes")
    model = LogisticRegression(max_iter=1000)
    return _fit(model, {"C": np.logspace(-5, 1, 7)}, "neg_log_loss", embeddings, labels, people, seed)


def fit_regressor(
    embeddings: np.ndarray, values: np.ndarray, people: np.ndarray | None = None, seed: int = 0
) -> Pipeline:
    """Linear probe of a quantity such as age: standardised embeddings, 256 principal components, ridge regression.

    embeddings: (n, d). values: (n,) numbers. people, penalty and result: as for `fit_classifier`. Raises ValueError
    for fewer than three people, and for embeddings or values that are not finite.
    """
    embeddings, values = as_rows(embeddings, np.asarray(values, np.float64))
    grid = {"alpha": np.logspace(-1, 7, 17)}
    return _fit(Ridge(solver="svd"), grid, "neg_mean_squared_error", embeddings, values, people, seed)


def predict(model: BaseEstimator, rows: np.ndarray, chunk: int = CHUNK) -> np.ndarray:
    """Predictions, (n,) or (n, k), of a fitted probe for (n, d) rows, which may be memory-mapped.

    `chunk` rows are read at a time.
    """
    parts = [model.predict(np.asarray(rows[i : i + chunk], np.float32)) for i in range(0, len(rows), chunk)]
    return np.concatenate(parts)


def _fit(
    model: BaseEstimator,
    grid: dict[str, np.ndarray],
    score: str,
    embeddings: np.ndarray,
    truth: np.ndarray,
    people: np.ndarray | None,
    seed: int,
) -> Pipeline:
    people = np.arange(len(truth)) if people is None else people
    if len(np.unique(people)) < 3 or not (truth.dtype.kind in "USO" or np.isfinite(truth).all()):
        raise ValueError("a probe needs three people, and finite values")
    folds = GroupKFold(3) if truth.dtype.kind == "f" else StratifiedGroupKFold(3)
    search = GridSearchCV(model, grid, cv=folds, scoring=score, error_score="raise")
    components = PCA(min(COMPONENTS, *embeddings.shape), svd_solver="randomized", random_state=seed)
    return make_pipeline(StandardScaler(), components, search).fit(embeddings, truth, gridsearchcv__groups=people)


def as_rows(rows: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finite float32 rows (n, d) and truth (n, ...) as arrays; raises ValueError for anything else."""
    rows, truth = np.asarray(rows, np.float32), np.asarray(truth)
    if rows.ndim != 2 or len(rows) != len(truth):
        raise ValueError(f"inputs {rows.shape} must be rows, as many as the {len(truth)} to learn from")
    if not np.isfinite(rows).all():
        raise ValueError("inputs must be finite")
    return rows, truth
