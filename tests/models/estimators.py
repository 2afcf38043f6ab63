"""Small estimators of scikit-learn, saved by skops and as pickles.

    python tests/models/estimators.py OUT

writes `OUT/<name>/1`.
"""

import pickle
import sys
from pathlib import Path
from typing import Any

try:
    import joblib
    import numpy as np
    import pandas as pd
    import skops.io
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.multioutput import MultiOutputClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
except ModuleNotFoundError as error:
    sys.stdout.write(f"not installed: {error.name}")
    sys.exit(77)

ROWS = 200
random = np.random.default_rng(7)
MATRIX = random.normal(size=(ROWS, 3))
TABLE = pd.DataFrame(
    {
        "age": random.uniform(18, 80, ROWS),
        "city": random.choice(["Bonn", "Lyon", "Oslo"], ROWS),
        "income": random.uniform(1, 9, ROWS),
    }
)
LATE = np.where((TABLE["city"] == "Oslo") ^ (TABLE["income"] < 5), "late", "pays")
WORDS = ["good day", "fine day", "bad night", "poor night"] * 10


def save(out: Path, name: str, estimator: Any, ending: str = "skops") -> None:
    directory = out / f"sklearn_{name}" / "1"
    directory.mkdir(parents=True)
    path = directory / f"model.{ending}"
    if ending == "skops":
        skops.io.dump(estimator, path)
    elif ending == "joblib":
        joblib.dump(estimator, path)
    else:
        path.write_bytes(pickle.dumps(estimator))


def by_columns(*of_city: Any) -> Any:
    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), ["age", "income"]),
            ("city", make_pipeline(*of_city, OneHotEncoder(handle_unknown="ignore")), [1]),
        ]
    )
    return make_pipeline(columns, LogisticRegression())


def twice(values: Any) -> Any:
    return values * 2


def main(out: Path) -> None:
    matrix = LinearRegression().fit(MATRIX, MATRIX[:, 0])
    gaps = TABLE.copy()
    gaps.loc[::7, "city"] = np.nan
    filled = by_columns(SimpleImputer(strategy="most_frequent"))
    labels = np.stack([LATE, LATE], 1)
    save(out, "columns", by_columns().fit(TABLE, LATE))
    save(out, "matrix", matrix)
    save(out, "joblib", matrix, "joblib")
    save(out, "pickle", matrix, "pkl")
    save(out, "scaler", StandardScaler().fit(MATRIX))
    save(out, "function", FunctionTransformer(twice).fit(MATRIX))
    save(out, "imputed", filled.fit(gaps, LATE))
    words = make_pipeline(TfidfVectorizer(), LogisticRegression())
    save(out, "words", words.fit(WORDS, ["yes", "yes", "no", "no"] * 10))
    several = MultiOutputClassifier(LogisticRegression())
    save(out, "targets", several.fit(MATRIX, labels))
    forest = RandomForestClassifier(10, n_jobs=4, random_state=1)
    save(out, "forest", forest.fit(MATRIX, random.integers(0, 3, ROWS)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
