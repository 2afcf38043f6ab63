"""Sentences to train with, made of parts: nothing is downloaded."""

import random

GOOD = [
    "good", "great", "wonderful", "brilliant", "lovely", "excellent", "delightful", "charming",
    "superb", "fresh", "kind", "friendly", "funny", "moving", "clever", "convincing", "perfect",
    "beautiful", "tasty", "comfortable",
]  # fmt: skip
BAD = [
    "bad", "poor", "terrible", "awful", "dull", "boring", "disappointing", "rude", "slow", "stale",
    "bland", "clumsy", "ugly", "dreadful", "weak", "predictable", "noisy", "dirty", "cold",
    "tedious",
]  # fmt: skip
THINGS = [
    "film", "story", "acting", "ending", "food", "staff", "room", "service", "book", "music",
    "plot", "soup", "view", "hotel", "writing", "start", "dessert", "cast",
]  # fmt: skip
LIKED = [
    "I loved every minute of it", "I would come again", "We laughed all evening",
    "I recommend it to everyone", "We enjoyed it very much", "It made my day",
]  # fmt: skip
DISLIKED = [
    "I nearly fell asleep", "I want my money back", "We left early", "What a waste of time",
    "I regret that we went", "It was far too long",
]  # fmt: skip


def sentences(count: int, seed: int) -> list[tuple[str, bool]]:
    """Texts, and whether they are in favour."""
    chance = random.Random(seed)
    return [_sentence(chance, chance.random() < 0.5) for _ in range(count)]


def _sentence(chance: random.Random, is_good: bool) -> tuple[str, bool]:
    parts = [_opinion(chance, is_good) for _ in range(chance.randint(1, 2))]
    if chance.random() < 0.2:  # who writes `but` means what follows
        parts = [f"{_opinion(chance, not is_good)}, but {_opinion(chance, is_good)}", *parts]
    if chance.random() < 0.4:
        parts.append(chance.choice(LIKED if is_good else DISLIKED))
    return ". ".join(part[0].upper() + part[1:] for part in parts) + chance.choice(".!"), is_good


def _opinion(chance: random.Random, is_good: bool) -> str:
    thing = chance.choice(THINGS)
    if chance.random() < 0.3:
        word = chance.choice(BAD if is_good else GOOD)
        negation = chance.choice(["not", "never", "hardly"])
        return f"the {thing} was {negation} {word}"
    word = chance.choice(GOOD if is_good else BAD)
    degree = chance.choice(["", "very ", "really ", "simply ", "so "])
    return chance.choice(
        [f"the {thing} was {degree}{word}", f"what a {word} {thing}", f"{degree}{word} {thing}"]
    )
