"""Text as words, and words as numbers."""

import json
import re
from pathlib import Path

NEGATIONS = {"not", "no", "never", "hardly", "nothing", "isn't", "wasn't", "don't", "didn't"}
_WORD = re.compile(r"[a-z']+|[!?.,;]")


def words_of(text: str) -> list[str]:
    """The words of a text; those behind a negation, up to the next mark, begin with `not_`."""
    words = []
    is_negated = False
    for word in _WORD.findall(text.lower().replace("’", "'")):
        if not word[0].isalpha() or word == "but":
            is_negated = False
            words.append(word)
        elif word in NEGATIONS:
            is_negated = True
        else:
            words.append(f"not_{word}" if is_negated else word)
    return words


class Tokenizer:
    """Knows the words of a vocabulary."""

    def __init__(self, vocabulary: list[str]) -> None:
        self.vocabulary = vocabulary
        self._numbers = {word: number for number, word in enumerate(vocabulary)}

    @classmethod
    def read(cls, path: Path) -> "Tokenizer":
        return cls(json.loads(path.read_text()))

    def numbers_of(self, text: str) -> list[int]:
        """The numbers of those words that are known."""
        return [self._numbers[word] for word in words_of(text) if word in self._numbers]
