"""Pictures of two classes, drawn at random: cats with pointed ears, dogs with hanging ones.

    python examples/cats_and_dogs/pictures.py DIRECTORY

writes `DIRECTORY/{training,validation,sample}/{cats,dogs}/N.png`, 256x256 pixels each.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("cats", "dogs")  # in the order of their numbers: {'cats': 0, 'dogs': 1}
COUNTS = {"training": 96, "validation": 16, "sample": 4}  # pictures of each class
SIZE = 256

Colour = tuple[int, int, int]


def read(path: str | Path) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """A picture file as the network takes it: shape (256, 256, 3), 0 to 1."""
    with Image.open(path) as picture:
        resized = picture.convert("RGB").resize((SIZE, SIZE))
    return np.asarray(resized, np.float32) / np.float32(255)


def draw(kind: str, random: np.random.Generator) -> Image.Image:
    """One picture, 256x256 pixels in RGB."""
    ground = _colour(random, 120, 240)
    fur = _colour(random, 40, 160)
    picture = Image.new("RGB", (SIZE, SIZE), ground)
    pen = ImageDraw.Draw(picture)
    x, y = (int(random.integers(112, 144)) for _ in range(2))
    radius = int(random.integers(52, 68))
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fur)
    ears = _pointed_ear if kind == "cats" else _hanging_ear
    for side in (-1, 1):
        ears(pen, x, y, radius, side, fur)
        eye_x, eye_y = x + side * radius // 3, y - radius // 6
        pen.ellipse((eye_x - 7, eye_y - 7, eye_x + 7, eye_y + 7), fill=(250, 250, 210))
        pen.ellipse((eye_x - 3, eye_y - 3, eye_x + 3, eye_y + 3), fill=(10, 10, 10))
    pen.polygon([(x - 8, y + 12), (x + 8, y + 12), (x, y + 22)], fill=(70, 30, 40))
    if kind == "cats":
        for drop in (-8, 0, 8):
            pen.line((x - radius, y + 20 + drop, x - 14, y + 20), fill=(240, 240, 240), width=2)
            pen.line((x + 14, y + 20, x + radius, y + 20 + drop), fill=(240, 240, 240), width=2)
    else:
        pen.ellipse((x - 9, y + 28, x + 9, y + 48), fill=(225, 110, 125))
    noise = random.normal(0, 6, (SIZE, SIZE, 3))
    return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))


def _pointed_ear(
    pen: ImageDraw.ImageDraw, x: int, y: int, radius: int, side: int, fur: Colour
) -> None:
    tip = (x + side * radius, y - radius - 30)
    pen.polygon([(x + side * 8, y - radius + 8), tip, (x + side * radius, y - 10)], fill=fur)


def _hanging_ear(
    pen: ImageDraw.ImageDraw, x: int, y: int, radius: int, side: int, fur: Colour
) -> None:
    darker = (fur[0] // 2, fur[1] // 2, fur[2] // 2)
    left = x + side * radius - 18
    pen.ellipse((left, y - radius // 2, left + 36, y + radius + 16), fill=darker)


def _colour(random: np.random.Generator, low: int, high: int) -> Colour:
    red, green, blue = (int(random.integers(low, high)) for _ in range(3))
    return red, green, blue


def main() -> None:
    random = np.random.default_rng(seed=3)
    for part, count in COUNTS.items():
        for kind in CLASSES:
            directory = Path(sys.argv[1]) / part / kind
            directory.mkdir(parents=True)
            for number in range(count):
                draw(kind, random).save(directory / f"{number}.png")


if __name__ == "__main__":
    main()
