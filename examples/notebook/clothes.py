"""Small pictures of clothes in ten classes, drawn at random: a stand-in for Fashion-MNIST.

They have its shape (28x28 greys, 0 to 255), its classes in its order, and come without a download.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

CLASS_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

Array = np.ndarray[Any, Any]
Points = list[tuple[float, float]]
Pen = Callable[[Points, int], None]  # fills a polygon, in a square of 0 to 28, with a grey


def load_data(
    train: int = 3000, test: int = 500, seed: int = 0
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Pictures (n, 28, 28) of uint8 and labels (n,), for training and for the test."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, train + test)
    images = np.stack([draw(int(label), random) for label in labels])
    return (images[:train], labels[:train]), (images[train:], labels[train:])


def draw(label: int, random: np.random.Generator) -> Array:
    """One picture of a class: moved, stretched and shaded at random, with noise."""
    scale = 4  # drawn larger and made smaller, for smooth edges
    picture = Image.new("L", (28 * scale, 28 * scale), 0)
    canvas = ImageDraw.Draw(picture)
    stretch_x, stretch_y = random.uniform(0.85, 1.1, 2)
    move_x, move_y = random.uniform(-1.5, 1.5, 2)
    shade = int(random.integers(120, 235))

    def fill(points: Points, lighter: int = 0) -> None:
        moved = [
            (
                (14 + (x - 14) * stretch_x + move_x) * scale,
                (14 + (y - 14) * stretch_y + move_y) * scale,
            )
            for x, y in points
        ]
        canvas.polygon(moved, fill=max(0, min(255, shade + lighter)))

    _DRAWN[label](fill)
    small = np.asarray(picture.resize((28, 28), Image.Resampling.BOX), np.float64)
    noise = random.normal(0, 14, small.shape) * (small > 0)
    return np.clip(small + noise, 0, 255).astype(np.uint8)


def _body(fill: Pen, bottom: float, half_width: float = 5.5) -> None:
    fill([(14 - half_width, 4), (14 + half_width, 4), (14 + half_width, bottom),
          (14 - half_width, bottom)], 0)  # fmt: skip


def _sleeves(fill: Pen, length: float, lighter: int = -15) -> None:
    for side in (-1, 1):
        fill([(14 + side * 5, 4), (14 + side * 9, 6), (14 + side * 11, 6 + length),
              (14 + side * 8, 6 + length), (14 + side * 5, 10)], lighter)  # fmt: skip


def _t_shirt(fill: Pen) -> None:
    _body(fill, 24)
    _sleeves(fill, 5)


def _trouser(fill: Pen) -> None:
    fill([(9, 3), (19, 3), (20, 26), (15.5, 26), (14, 9), (12.5, 26), (8, 26)], 0)


def _pullover(fill: Pen) -> None:
    _body(fill, 24)
    _sleeves(fill, 17)
    fill([(10, 3), (18, 3), (18, 6), (10, 6)], 30)


def _dress(fill: Pen) -> None:
    fill([(11, 2), (17, 2), (16.5, 10), (21, 26), (7, 26), (11.5, 10)], 0)


def _coat(fill: Pen) -> None:
    _body(fill, 26, 6)
    _sleeves(fill, 18)
    fill([(13.4, 4), (14.6, 4), (14.6, 26), (13.4, 26)], -110)


def _sandal(fill: Pen) -> None:
    fill([(3, 21), (25, 19), (25, 22), (3, 23)], 0)
    for x in (6, 12, 18):
        fill([(x, 20), (x + 2, 13), (x + 4, 13), (x + 3, 20)], 20)


def _shirt(fill: Pen) -> None:
    _body(fill, 25)
    _sleeves(fill, 16)
    fill([(10.5, 3), (14, 9), (17.5, 3)], -110)
    for y in (12, 16, 20):
        fill([(13, y), (15, y), (15, y + 1.5), (13, y + 1.5)], 90)


def _sneaker(fill: Pen) -> None:
    fill([(2, 14), (9, 13), (15, 16), (25, 18), (26, 21), (2, 21)], 0)
    fill([(2, 21), (26, 21), (26, 23), (2, 23)], 60)


def _bag(fill: Pen) -> None:
    fill([(4, 11), (24, 11), (25, 25), (3, 25)], 0)
    fill([(9, 11), (10, 4), (18, 4), (19, 11), (17, 11), (16.5, 6), (11.5, 6), (11, 11)], -30)


def _ankle_boot(fill: Pen) -> None:
    fill([(5, 3), (14, 3), (14, 14), (25, 18), (25, 22), (5, 22)], 0)
    fill([(5, 22), (25, 22), (25, 25), (21, 24), (11, 24), (10, 26), (5, 26)], -60)


_DRAWN: tuple[Callable[[Pen], None], ...] = (
    _t_shirt, _trouser, _pullover, _dress, _coat, _sandal, _shirt, _sneaker, _bag, _ankle_boot,
)  # fmt: skip
