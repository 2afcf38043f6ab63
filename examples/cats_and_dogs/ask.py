"""Ask a server for the probability that a picture shows a dog.

python examples/cats_and_dogs/ask.py URL PICTURE
"""

import sys

import requests
from pictures import read


def main() -> None:
    image = read(sys.argv[2])
    answer = requests.post(sys.argv[1], json={"instances": [image.tolist()]}, timeout=60)
    answer.raise_for_status()
    print(answer.json())


if __name__ == "__main__":
    main()
