"""Train a pipeline that tells how likely a loan is repaid, and publish it as version 1.

    python train.py MODEL_DIRECTORY

The people and their loans are made up, here, by rules with chance in them and a fixed seed: no
figure is of anybody, and what the model finds is what the rules put there. It shows how a pipeline
over named columns is served, and decides about nobody.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skops.io
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

SEED = 2024
PEOPLE = 8_000
WORK = {"employed": 0.6, "self-employed": -0.1, "student": -0.5, "unemployed": -1.3}
HOME = {"owns": 0.7, "mortgage": 0.3, "rents": -0.3}


def made_up(count: int, seed: int = SEED) -> tuple[pd.DataFrame, Any]:
    """A table of people with a loan each, and whether it was repaid."""
    random = np.random.default_rng(seed)
    work = random.choice(list(WORK), count, p=[0.62, 0.15, 0.13, 0.10])
    home = random.choice(list(HOME), count, p=[0.25, 0.3, 0.45])
    income = random.lognormal(3.4, 0.45, count) * np.where(work == "unemployed", 0.45, 1)
    table = pd.DataFrame(
        {
            "age": random.uniform(18, 80, count).round(),
            "debt_ratio": (100 * random.beta(2, 4, count)).round(1),
            "home": home,
            "income": income.round(1),
            "loan": random.lognormal(2.2, 0.7, count).round(1),
            "months": random.choice([12.0, 24.0, 36.0, 48.0, 60.0], count),
            "work": work,
        }
    )
    burden = 1200 * table["loan"] / table["months"] / table["income"]
    score = (
        2.4
        + table["work"].map(WORK).to_numpy(float)
        + table["home"].map(HOME).to_numpy(float)
        - 0.035 * table["debt_ratio"].to_numpy(float)
        - 0.02 * burden.to_numpy(float)
        + 0.012 * table["age"].to_numpy(float)
        + 0.015 * table["income"].to_numpy(float)
    )
    is_repaid = random.uniform(size=count) < 1 / (1 + np.exp(-score))
    return table, np.where(is_repaid, "repaid", "defaulted")


def pipeline() -> Pipeline:
    columns = make_column_transformer(
        (StandardScaler(), ["age", "debt_ratio", "income", "loan", "months"]),
        (OneHotEncoder(handle_unknown="ignore"), ["home", "work"]),
    )
    return make_pipeline(columns, LogisticRegression(max_iter=1000))


def about(model: Any) -> dict[str, Any]:
    """What the model says of itself: the playground makes its form and its answers of this."""
    inputs = {
        "age": {"title": "Age", "kind": "number", "unit": "years", "range": [18, 80]},
        "debt_ratio": {
            "title": "Income that goes to debts now",
            "kind": "number",
            "unit": "%",
            "range": [0, 100],
        },
        "home": {"title": "Home", "kind": "category", "choices": list(HOME)},
        "income": {
            "title": "Income in a year",
            "kind": "number",
            "unit": "thousand €",
            "range": [5, 150],
        },
        "loan": {"title": "Loan", "kind": "number", "unit": "thousand €", "range": [1, 60]},
        "months": {
            "title": "To be repaid in",
            "kind": "number",
            "unit": "months",
            "range": [12, 60],
        },
        "work": {"title": "Work", "kind": "category", "choices": list(WORK)},
    }
    signature = {"inputs": inputs, "examples": [{"title": t, "inputs": i} for t, i in examples()]}
    labels = [str(label) for label in model.classes_]
    return {
        "schema": 1,
        "title": "Credit risk (made-up data)",
        "description": "Tells how likely a loan is repaid. It was trained on people that do not "
        "exist, and decides about nobody.",
        "signatures": {
            "predict_proba": {
                **signature,
                "title": "How likely",
                "outputs": {"probabilities": {"kind": "classes", "labels": labels}},
            },
            "serving_default": {
                **signature,
                "title": "Repaid or not",
                "outputs": {"y": {"kind": "text", "title": "Most likely"}},
            },
        },
    }


def examples() -> list[tuple[str, dict[str, Any]]]:
    """Three people to click."""
    columns = ("age", "debt_ratio", "home", "income", "loan", "months", "work")
    people = {
        "a nurse with a flat": (44, 12, "owns", 42, 8, 36, "employed"),
        "a student who rents": (22, 35, "rents", 11, 9, 24, "student"),
        "out of work, large loan": (51, 68, "rents", 12, 25, 24, "unemployed"),
    }
    return [
        (title, {name: [value] for name, value in zip(columns, row, strict=True)})
        for title, row in people.items()
    ]


def main(directory: Path) -> None:
    table, repaid = made_up(PEOPLE)
    train, test, train_repaid, test_repaid = train_test_split(table, repaid, random_state=SEED)
    model = pipeline().fit(train, train_repaid)
    likely = model.predict_proba(test)[:, list(model.classes_).index("repaid")]
    version = directory / "1"
    (version / "assets").mkdir(parents=True, exist_ok=True)
    skops.io.dump(model, version / "model.skops")
    (version / "assets" / "salver.json").write_text(
        json.dumps(about(model), indent=1, ensure_ascii=False)
    )
    print(
        f"{len(train)} made-up people to train, {len(test)} to test: area under the curve "
        f"{roc_auc_score(test_repaid == 'repaid', likely):.2f}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
