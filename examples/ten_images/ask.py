"""Post the first ten test images and compare the predictions with the labels.

python examples/ten_images/ask.py [URL]
"""

import json
import sys

import numpy as np
import requests
from train import load_images

URL = "http://localhost:8501/v1/models/mnist_model:predict"


def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else URL
    _, (images, labels) = load_images()
    data = json.dumps({"signature_name": "serving_default", "instances": images[:10].tolist()})
    answer = requests.post(url, data=data, headers={"content-type": "application/json"}, timeout=30)
    answer.raise_for_status()
    predictions = np.array(answer.json()["predictions"]).argmax(axis=1)
    print("predictions:", *predictions)
    print("labels:     ", *labels[:10])
    print(f"{(predictions == labels[:10]).sum()} of 10 are right")


if __name__ == "__main__":
    main()
