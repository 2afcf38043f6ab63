"""Small ensembles, by LightGBM and XGBoost themselves.

    python tests/models/trees.py OUT

writes `OUT/<name>/1`.
"""

import sys
from pathlib import Path
from typing import Any

try:
    import lightgbm
    import numpy as np
    import pandas as pd
    import xgboost
except ModuleNotFoundError as error:
    sys.stdout.write(f"not installed: {error.name}")
    sys.exit(77)

ROWS = 300
random = np.random.default_rng(7)
MATRIX = random.normal(size=(ROWS, 4)).astype(np.float32)
SUM = MATRIX[:, 0] + MATRIX[:, 1] * MATRIX[:, 2]
CLASSES = random.integers(0, 3, ROWS)
GROUPS = [100, 200]
TABLE = pd.DataFrame(
    {
        "age": random.uniform(18, 80, ROWS),
        "city": pd.Categorical(random.choice(["Bonn", "Lyon", "Oslo"], ROWS)),
        "income": random.uniform(1, 9, ROWS),
    }
)
LATE = ((TABLE["city"] == "Oslo") ^ (TABLE["income"] < 5)).astype(int)


def lightgbm_model(out: Path, name: str, label: Any, data: Any = MATRIX, **settings: Any) -> None:
    dataset_settings = {key: settings.pop(key) for key in ("group",) if key in settings}
    booster = lightgbm.train(
        {"verbose": -1, "num_leaves": 6, "num_threads": 1, **settings},
        lightgbm.Dataset(data, label, **dataset_settings),
        5,
    )
    directory = out / f"lightgbm_{name}" / "1"
    directory.mkdir(parents=True)
    booster.save_model(directory / "model.txt")


def xgboost_model(
    out: Path, name: str, label: Any, data: Any = MATRIX, group: Any = None, **settings: Any
) -> None:
    matrix = xgboost.DMatrix(data, label, enable_categorical=True)
    if group:
        matrix.set_group(group)
    rounds = settings.pop("rounds", 5)
    if settings.get("booster") != "gblinear":
        settings["max_depth"] = 3
    booster = xgboost.train({"nthread": 1, **settings}, matrix, rounds)
    for ending in ("ubj", "json"):
        directory = out / f"xgboost_{name}_{ending}" / "1"
        directory.mkdir(parents=True)
        booster.save_model(directory / f"model.{ending}")


def own_objective(prediction: Any, data: Any) -> Any:
    return prediction - data.get_label(), np.ones_like(prediction)


def main(out: Path) -> None:
    many = {"num_class": 3}
    lightgbm_model(out, "binary", SUM > 0, objective="binary")
    lightgbm_model(out, "regression", SUM, objective="regression")
    lightgbm_model(out, "multiclass", CLASSES, objective="multiclass", **many)
    lightgbm_model(out, "ova", CLASSES, objective="multiclassova", **many)
    lightgbm_model(out, "ranking", CLASSES, objective="lambdarank", group=GROUPS)
    lightgbm_model(out, "linear", SUM, objective="regression", linear_tree=True)
    lightgbm_model(out, "constant", np.ones(ROWS), objective="regression")
    lightgbm_model(out, "custom", SUM, objective=own_objective)
    lightgbm_model(out, "table", LATE, TABLE, objective="binary")
    bagging = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}
    lightgbm_model(out, "forest", SUM > 0, objective="binary", **bagging)
    xgboost_model(out, "binary", SUM > 0, objective="binary:logistic")
    xgboost_model(out, "raw", SUM > 0, objective="binary:logitraw")
    xgboost_model(out, "regression", SUM, objective="reg:squarederror")
    xgboost_model(out, "softmax", CLASSES, objective="multi:softmax", **many)
    xgboost_model(out, "softprob", CLASSES, objective="multi:softprob", **many)
    xgboost_model(out, "ranking", CLASSES, objective="rank:ndcg", group=GROUPS)
    xgboost_model(out, "dart", SUM, booster="dart", rate_drop=0.5)
    xgboost_model(out, "linear", SUM, booster="gblinear")
    targets = np.stack([SUM, -SUM], 1)
    xgboost_model(out, "targets", targets)
    xgboost_model(out, "vectors", targets, multi_strategy="multi_output_tree")
    xgboost_model(out, "table", LATE, TABLE, objective="binary:logistic")
    xgboost_model(out, "empty", SUM, rounds=0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
