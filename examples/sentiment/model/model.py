"""Whether a text is said in favour of something: a tokenizer and a linear model, in one model."""

import numpy as np
from tokenizer import Tokenizer


class Model:
    inputs = {"text": ("string", [-1])}
    outputs = {"probabilities": ("float32", [-1, 2]), "telling": ("string", [-1])}
    max_batch_size = 256

    def load(self, context):
        self.tokenizer = Tokenizer.read(context.directory / "vocabulary.json")
        weights = np.load(context.directory / "weights.npz")
        self.weights, self.bias = weights["weights"], weights["bias"]

    def predict(self, inputs):
        numbers = [self.tokenizer.numbers_of(text.decode()) for text in inputs["text"]]
        scores = np.array([self.weights[each].sum() for each in numbers]) + self.bias
        positive = (1 / (1 + np.exp(-scores))).astype(np.float32)
        return {
            "probabilities": np.stack([1 - positive, positive], axis=1),
            "telling": [self.telling(each) for each in numbers],
        }

    def telling(self, numbers):
        """The words that told most, and which way."""
        most = sorted(set(numbers), key=lambda number: -abs(self.weights[number]))[:3]
        return ", ".join(
            f"{self.tokenizer.vocabulary[number].replace('not_', 'not ')} "
            f"({'+' if self.weights[number] > 0 else '−'})"
            for number in most
        )
