"""The page's way to the model: a picture in, the name of its class out, by the REST API."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import requests
from PIL import Image, ImageOps

MODEL_URI = os.environ.get("MODEL_URI", "http://localhost:8501/v1/models/pets:predict")
CLASSES = ("Cat", "Dog")
SIZE = 128


class NoPrediction(Exception):
    """The model server gave no prediction; the text says why."""


@dataclass(frozen=True)
class Prediction:
    """The likeliest class of a picture, its probability, and the version that answered."""

    name: str
    probability: float
    version: str


def to_array(picture: Image.Image) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """A picture as the model takes it: shape (128, 128, 3), 0 to 1, upright."""
    upright = ImageOps.exif_transpose(picture).convert("RGB")
    return np.asarray(ImageOps.fit(upright, (SIZE, SIZE)), np.float32) / np.float32(255)


def get_prediction(picture: Image.Image) -> Prediction:
    """Ask the model server.

    Raises:
        NoPrediction: there is no server, or it refused.
    """
    try:
        answer = requests.post(
            MODEL_URI, json={"instances": [to_array(picture).tolist()]}, timeout=30
        )
    except requests.RequestException as error:
        raise NoPrediction(f"The model server at {MODEL_URI} cannot be reached.") from error
    if not answer.ok:
        raise NoPrediction(f"The model server says: {reason(answer)}")
    probabilities = answer.json()["predictions"][0]
    best = int(np.argmax(probabilities))
    version = answer.headers.get("salver-model-version", "")
    return Prediction(CLASSES[best], probabilities[best], version)


def reason(answer: requests.Response) -> str:
    """What an answer that is an error says."""
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code} {answer.reason}"
