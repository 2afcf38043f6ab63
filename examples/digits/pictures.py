"""Pictures of digits to train on: scikit-learn's own, and such as people draw and print.

scikit-learn's digits all have one size, one place and one pen. What people draw with a mouse or
upload has not, so each picture is made larger, turned, moved, thickened or blurred, and made small
again; and there are digits made of strokes, and of the fonts that come with matplotlib.

Shapes: `(n, 32, 32)` large, `(n, 8, 8)` small; values from 0, the ground, to 1, the ink.
"""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from sklearn.datasets import load_digits

Pictures = np.ndarray[Any, Any]  # float32
Digits = np.ndarray[Any, Any]
Random = np.random.Generator

SMALL = 8
LARGE = 32
GREYS = 16  # scikit-learn's values go from 0 to 16
_FINE = 96  # what strokes and letters are drawn in
_TRAINED_ON = 1300  # of scikit-learn's 1797; the rest is for tests

# The ways people write a digit: strokes, each of points from 0 to 1, x to the right and y down. A
# stroke whose first entry is "o" is an arc: centre, radii, from and to in turns, 0 at the right,
# clockwise.
STROKES: dict[int, list[list[list[Any]]]] = {
    0: [
        [["o", 0.5, 0.5, 0.33, 0.48, 0.75, -0.25]],
        [["o", 0.5, 0.5, 0.42, 0.44, 0.7, -0.33]],
        [["o", 0.5, 0.5, 0.26, 0.48, 0.8, -0.2]],
    ],
    1: [
        [[(0.5, 0.0), (0.5, 1.0)]],
        [[(0.28, 0.25), (0.55, 0.0), (0.55, 1.0)]],
        [[(0.58, 0.0), (0.44, 1.0)]],
        [[(0.3, 0.22), (0.52, 0.0), (0.52, 1.0)], [(0.3, 1.0), (0.75, 1.0)]],
        [[(0.2, 0.4), (0.6, 0.0), (0.6, 1.0)]],
    ],
    2: [
        [["o", 0.5, 0.28, 0.34, 0.28, -0.45, 0.1], [(0.8, 0.42), (0.15, 1.0), (0.88, 1.0)]],
        [["o", 0.5, 0.27, 0.32, 0.27, -0.5, 0.12], [(0.73, 0.45), (0.42, 0.75), (0.16, 0.98)],
         [(0.16, 0.98), (0.3, 0.88), (0.5, 0.95), (0.7, 1.0), (0.88, 0.92)]],
        [[(0.15, 0.1), (0.6, 0.02), (0.8, 0.2), (0.72, 0.45), (0.12, 1.0), (0.9, 1.0)]],
    ],
    3: [
        [["o", 0.45, 0.26, 0.33, 0.26, -0.42, 0.25], ["o", 0.45, 0.75, 0.38, 0.25, -0.25, 0.42]],
        [[(0.15, 0.02), (0.82, 0.02), (0.45, 0.4)], ["o", 0.42, 0.7, 0.38, 0.3, -0.25, 0.43]],
        [["o", 0.42, 0.25, 0.38, 0.25, -0.38, 0.22], ["o", 0.4, 0.74, 0.46, 0.26, -0.22, 0.4]],
    ],
    4: [
        [[(0.65, 0.0), (0.1, 0.68), (0.95, 0.68)], [(0.68, 0.35), (0.68, 1.0)]],
        [[(0.65, 1.0), (0.65, 0.0), (0.1, 0.66), (0.92, 0.66)]],
        [[(0.2, 0.02), (0.16, 0.5), (0.85, 0.5)], [(0.78, 0.05), (0.74, 1.0)]],
        [[(0.35, 0.0), (0.15, 0.6), (0.9, 0.6)], [(0.68, 0.25), (0.6, 1.0)]],
    ],
    5: [
        [[(0.85, 0.02), (0.25, 0.02), (0.2, 0.45)], ["o", 0.45, 0.68, 0.38, 0.31, -0.38, 0.4]],
        [[(0.82, 0.0), (0.22, 0.0), (0.2, 0.42), (0.55, 0.4), (0.8, 0.58), (0.78, 0.82),
          (0.5, 1.0), (0.15, 0.94)]],
        [[(0.25, 0.05), (0.22, 0.42)], [(0.25, 0.05), (0.85, 0.03)],
         ["o", 0.42, 0.68, 0.42, 0.32, -0.36, 0.38]],
    ],
    6: [
        [[(0.7, 0.0), (0.4, 0.2), (0.2, 0.5), (0.16, 0.72)],
         ["o", 0.48, 0.72, 0.32, 0.28, 0.5, -0.5]],
        [[(0.55, 0.0), (0.3, 0.3), (0.2, 0.68)], ["o", 0.5, 0.73, 0.3, 0.27, 0.5, 1.5]],
        [[(0.8, 0.08), (0.5, 0.02), (0.25, 0.3), (0.16, 0.7)],
         ["o", 0.5, 0.7, 0.34, 0.3, 0.5, -0.5]],
    ],
    7: [
        [[(0.1, 0.03), (0.88, 0.03), (0.4, 1.0)]],
        [[(0.12, 0.05), (0.85, 0.0), (0.55, 0.5), (0.42, 1.0)]],
        [[(0.1, 0.03), (0.88, 0.03), (0.42, 1.0)], [(0.3, 0.5), (0.85, 0.5)]],
        [[(0.14, 0.2), (0.14, 0.03), (0.88, 0.03), (0.38, 1.0)]],
        [[(0.05, 0.08), (0.92, 0.08), (0.62, 0.95)]],
    ],
    8: [
        [["o", 0.5, 0.25, 0.28, 0.25, 0.25, 1.25], ["o", 0.5, 0.74, 0.34, 0.26, -0.25, 0.75]],
        [[(0.78, 0.12), (0.5, 0.0), (0.24, 0.14), (0.3, 0.36), (0.7, 0.6), (0.8, 0.82),
          (0.5, 1.0), (0.2, 0.82), (0.3, 0.6), (0.7, 0.36), (0.78, 0.12)]],
        [["o", 0.5, 0.24, 0.24, 0.24, 0.0, 1.0], ["o", 0.5, 0.74, 0.3, 0.26, 0.0, 1.0]],
    ],
    9: [
        [["o", 0.5, 0.28, 0.32, 0.28, 0.0, 1.0], [(0.82, 0.28), (0.76, 0.65), (0.6, 1.0)]],
        [["o", 0.48, 0.28, 0.32, 0.28, 0.0, -1.0], [(0.8, 0.2), (0.8, 1.0)]],
        [["o", 0.5, 0.28, 0.32, 0.28, 0.0, -1.0], [(0.82, 0.28), (0.8, 0.72)],
         ["o", 0.5, 0.72, 0.3, 0.27, 0.0, 0.4]],
    ],
}  # fmt: skip

FONTS = (
    "DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSans-Oblique.ttf", "DejaVuSerif.ttf",
    "DejaVuSerif-Bold.ttf", "DejaVuSansMono.ttf", "STIXGeneral.ttf", "STIXGeneralBol.ttf",
    "STIXGeneralItalic.ttf", "cmss10.ttf", "cmtt10.ttf",
)  # fmt: skip


def originals(*, is_test: bool = False) -> tuple[Pictures, Digits]:
    """scikit-learn's digits, small: those to train on, or the others."""
    digits = load_digits()
    part = slice(_TRAINED_ON, None) if is_test else slice(_TRAINED_ON)
    return (digits.images[part] / GREYS).astype(np.float32), digits.target[part]


def training_set(count: int, random: Random) -> tuple[Pictures, Digits]:
    """Small pictures: four in eight are scikit-learn's, changed; three of strokes, one of print."""
    images, digits = originals()
    chosen = random.integers(0, len(images), count // 2)
    large = np.stack([_enlarged(images[at]) for at in chosen])
    found = [(_varied(large, random), digits[chosen])]
    for make, share in ((stroke_digit, 3), (printed_digit, 1)):
        truth = random.integers(0, 10, count * share // 8)
        made = np.stack([make(int(digit), random) for digit in truth])
        found.append((_varied(made, random), truth))
    order = random.permutation(sum(len(truth) for _, truth in found))
    return (
        shrunk(np.concatenate([pictures for pictures, _ in found]))[order],
        np.concatenate([truth for _, truth in found])[order],
    )


def shrunk(large: Pictures) -> Pictures:
    """Averages of areas, as the playground makes pictures small."""
    block = LARGE // SMALL
    blocks = large.reshape(-1, SMALL, block, SMALL, block)
    return np.asarray(blocks.mean((2, 4), dtype=np.float32))


def stroke_digit(digit: int, random: Random) -> Pictures:
    """A digit as it is drawn with a mouse: one of the ways to write it, by an unsteady hand."""
    ways = STROKES[digit]
    way = ways[random.integers(len(ways))]
    wobble = random.uniform(0.0, 0.05)
    lines = [_points(stroke) for stroke in way]
    lines = [line + random.normal(0, wobble, (1, 2)) for line in lines]
    lines = [line + ndimage.gaussian_filter1d(random.normal(0, wobble * 2, line.shape), 3, axis=0)
             for line in lines]  # fmt: skip
    width = float(random.uniform(0.07, 0.24))
    slim = float(random.uniform(0.6, 1.0))
    return _drawn([line * (slim, 1.0) for line in lines], width)


def printed_digit(digit: int, random: Random, fonts: tuple[str, ...] = FONTS) -> Pictures:
    """A digit of one of the fonts."""
    file = Path(get_data_path(), "fonts", "ttf", fonts[random.integers(len(fonts))])
    font = ImageFont.truetype(str(file), _FINE - 8)
    picture = Image.new("L", (_FINE * 2, _FINE * 2))
    ImageDraw.Draw(picture).text((_FINE, _FINE), str(digit), fill=255, font=font, anchor="mm")
    return _framed(picture)


def _points(stroke: list[Any]) -> Pictures:
    if stroke[0] == "o":
        _, x, y, width, height, begin, end = stroke
        turns = np.linspace(begin, end, 24) * 2 * np.pi
        return np.stack([x + width * np.cos(turns), y + height * np.sin(turns)], 1)
    corners = np.array(stroke, float)
    steps = np.linspace(0, len(corners) - 1, 8 * (len(corners) - 1) + 1)
    return np.stack([np.interp(steps, range(len(corners)), corners[:, at]) for at in (0, 1)], 1)


def _drawn(lines: list[Pictures], width: float) -> Pictures:
    picture = Image.new("L", (_FINE * 2, _FINE * 2))
    pen = ImageDraw.Draw(picture)
    radius = width * _FINE / 2
    for line in lines:
        points = [(x * _FINE + _FINE / 2, y * _FINE + _FINE / 2) for x, y in line]
        pen.line(points, fill=255, width=max(1, round(2 * radius)), joint="curve")
        for x, y in (points[0], points[-1]):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return _framed(picture)


def _framed(picture: Image.Image) -> Pictures:
    """The part that has ink, with a margin all around, as a large picture."""
    box = picture.getbbox() or (0, 0, *picture.size)
    left, top, right, bottom = box
    side = round(max(right - left, bottom - top) * 1.15)
    x, y = (left + right - side) // 2, (top + bottom - side) // 2
    framed = picture.crop((x, y, x + side, y + side)).resize((LARGE, LARGE), Image.Resampling.BOX)
    return np.asarray(framed, np.float32) / 255


def _enlarged(small: Pictures) -> Pictures:
    large = ndimage.zoom(small, LARGE / SMALL, order=3, mode="nearest", grid_mode=True)
    return np.asarray(np.clip(large, 0, 1), np.float32)


def _varied(large: Pictures, random: Random) -> Pictures:
    return np.stack([_vary(picture, random) for picture in large])


def _vary(picture: Pictures, random: Random) -> Pictures:
    """Turn, slant, stretch and move a picture; sharpen it or blur it; thin it or thicken it."""
    turn, slant = random.normal(0, 0.12), random.normal(0, 0.12)
    scale = random.uniform(0.7, 1.08) * np.exp(random.normal(0, 0.08, 2))
    cosine, sine = np.cos(turn), np.sin(turn)
    matrix = np.array([[cosine, -sine], [sine, cosine]]) @ np.array([[1, 0], [slant, 1]])
    matrix = matrix / np.clip(scale, 0.6, 1.12)
    middle = (LARGE - 1) / 2
    offset = middle - matrix @ np.array([middle, middle]) + random.normal(0, 1.3, 2)
    moved = ndimage.affine_transform(picture, matrix, offset, order=1)
    soft = ndimage.gaussian_filter(moved, random.uniform(0.3, 1.6))
    # The level at which ink begins makes lines thick or thin, the slope makes them sharp or soft.
    level, slope = random.uniform(0.22, 0.58), random.uniform(4, 14)
    inked = 1 / (1 + np.exp(-slope * (soft - level)))
    inked -= 1 / (1 + np.exp(slope * level))
    strength = random.uniform(0.75, 1.0) if random.random() < 0.3 else 1.0
    return np.asarray(np.clip(inked / max(float(inked.max()), 0.5), 0, 1) * strength, np.float32)
