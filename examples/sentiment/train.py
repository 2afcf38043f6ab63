"""Train the model, and put a version of it in place.

python train.py BASE_PATH [VERSION]
"""

import json
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "model")]

from sentences import sentences  # noqa: E402
from tokenizer import Tokenizer, words_of  # type: ignore[import-not-found]  # noqa: E402

Array = np.ndarray[Any, Any]
STEPS = 300
RATE = 2.0
DECAY = 1e-4


def counts_of(tokenizer: Tokenizer, texts: list[str]) -> Array:
    """How often each word of the vocabulary is in each text."""
    counts = np.zeros((len(texts), len(tokenizer.vocabulary)))
    for row, text in enumerate(texts):
        for number in tokenizer.numbers_of(text):
            counts[row, number] += 1
    return counts


def train(counts: Array, wanted: Array) -> tuple[Array, float]:
    """Weights and bias of a logistic regression."""
    weights, bias = np.zeros(counts.shape[1]), 0.0
    for _ in range(STEPS):
        wrong = 1 / (1 + np.exp(-(counts @ weights + bias))) - wanted
        weights -= RATE * (counts.T @ wrong / len(wanted) + DECAY * weights)
        bias -= RATE * float(wrong.mean())
    return weights, bias


def main(base: Path, version: int = 1) -> float:
    """Train, write the version and return the part of other sentences that it reads rightly."""
    training, others = sentences(3000, seed=1), sentences(500, seed=2)
    seen = Counter(word for text, _ in training for word in words_of(text))
    tokenizer = Tokenizer(sorted(word for word, times in seen.items() if times > 2))
    texts, wanted = zip(*training, strict=True)
    weights, bias = train(counts_of(tokenizer, list(texts)), np.array(wanted, float))
    texts, wanted = zip(*others, strict=True)
    said = counts_of(tokenizer, list(texts)) @ weights + bias > 0
    staged = base / f"unfinished-{version}"
    shutil.copytree(HERE / "model", staged, ignore=shutil.ignore_patterns("__pycache__"))
    (staged / "vocabulary.json").write_text(json.dumps(tokenizer.vocabulary))
    np.savez(staged / "weights.npz", weights=weights.astype(np.float32), bias=np.float32(bias))
    staged.rename(base / str(version))
    return float(np.mean(said == np.array(wanted)))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    right = main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
    print(f"{right:.1%} of 500 other sentences are read rightly")
