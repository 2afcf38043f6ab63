"""Predict a picture with the `.h5` file, without a server.

python examples/cats_and_dogs/predict.py FILE.h5 PICTURE
"""

import sys

import keras
import numpy as np
from pictures import read


def main() -> None:
    model = keras.models.load_model(sys.argv[1], compile=False)
    np.set_printoptions(precision=9)
    print(repr(model.predict(read(sys.argv[2])[np.newaxis], verbose=0)))


if __name__ == "__main__":
    main()
