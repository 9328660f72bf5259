"""References that know joint angles: a random forest, a logistic regression, and rules without any training."""

from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from efa_book.real_people.evaluate import Condition, target
from efa_book.real_people.features import RULES, percentiles, surroundings
from efa_datasets.real_people import Record

Array = np.ndarray

FOREST, REGRESSION = "joint angles, random forest", "joint angles, logistic regression"
DIRECTIONS, FIRST_FRAME, RULE = "angles and directions, random forest", "no movement: first frame and length", "rule"
COMMONEST = "always the commonest"
TREES = 200


def _forest() -> RandomForestClassifier:
    return RandomForestClassifier(TREES, min_samples_leaf=2, random_state=0)


def learn(
    train: Sequence[Record], test: Sequence[Record], model: Callable[[], object], features: Callable[..., Array]
) -> Array:
    """Probabilities of the test clips' classes [N, C], learnt from the training clips, one model an exercise."""
    classes = sorted({target(record) for record in train})
    found = np.zeros((len(test), len(classes)))
    for exercise in sorted({record.exercise for record in test}):
        known = [record for record in train if record.exercise == exercise]
        asked = [i for i, record in enumerate(test) if record.exercise == exercise]
        pipeline = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), model())
        pipeline.fit(features(known), [target(record) for record in known])
        columns = [classes.index(name) for name in pipeline.classes_]
        found[np.ix_(asked, columns)] = pipeline.predict_proba(features([test[i] for i in asked]))
    return found


def rule(train: Sequence[Record], test: Sequence[Record]) -> Array:
    """The set's geometric rule [N, 2], higher is worse; what it cannot measure gets the training clips' median."""
    measure = RULES[test[0].set]
    scores = np.array([measure(record) for record in test])
    usual = np.nanmedian([measure(record) for record in train])
    scores = np.where(np.isfinite(scores), scores, usual)
    return np.stack([-scores, scores], 1)


def commonest(train: Sequence[Record], test: Sequence[Record]) -> Array:
    """The training clips' shares of every class, for each test clip [N, C]: an answer without a look."""
    names = [target(record) for record in train]
    return np.tile([names.count(name) / len(names) for name in sorted(set(names))], (len(test), 1))


def conditions(records: Sequence[Record]) -> dict[str, Condition]:
    """The references of a set, by name. Angles are measured once."""
    regression = partial(LogisticRegression, C=0.01, max_iter=2000)
    name = records[0].set
    found: dict[str, Condition] = {
        FOREST: partial(learn, model=_forest, features=_measured(records, percentiles)),
        REGRESSION: partial(learn, model=regression, features=_measured(records, percentiles)),
        DIRECTIONS: partial(learn, model=_forest, features=_measured(records, partial(percentiles, directions=True))),
    }
    if name in RULES:
        found[RULE] = rule
    if records[0].landmarks is not None:
        found[FIRST_FRAME] = partial(learn, model=_forest, features=_measured(records, surroundings))
    return found | ({COMMONEST: commonest} if len({target(record) for record in records}) > 2 else {})


def _measured(records: Sequence[Record], features: Callable[[Sequence[Record]], Array]) -> Callable[..., Array]:
    """The same function for some of the records, computed for all at its first call."""

    @cache
    def rows() -> dict[str, Array]:
        return {record.clip: row for record, row in zip(records, features(records), strict=True)}

    return lambda some: np.stack([rows()[record.clip] for record in some])
