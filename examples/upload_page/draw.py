"""Draw a cat and a dog to upload: `python -m examples.upload_page.draw DIRECTORY`."""

import sys
from pathlib import Path

import numpy as np
from examples.cats_and_dogs.pictures import draw


def main() -> None:
    random = np.random.default_rng(seed=11)
    for kind in ("cats", "dogs"):
        draw(kind, random).save(Path(sys.argv[1]) / f"{kind.removesuffix('s')}.png")


if __name__ == "__main__":
    main()
