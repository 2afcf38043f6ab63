"""A page on which a person uploads a picture and sees whether it shows a cat or a dog.

    python examples/upload_page/app.py

It listens on port 5000, or on PORT, and asks the model server at MODEL_URI.
"""

import base64
import io
import os

from flask import Flask, Response, render_template, request
from flask_bootstrap import Bootstrap5
from model import NoPrediction, get_prediction
from PIL import Image, UnidentifiedImageError

MEBIBYTE = 1 << 20
LARGEST_UPLOAD_BYTES = 8 * MEBIBYTE
SHOWN_PIXELS = 512

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = LARGEST_UPLOAD_BYTES
app.config["BOOTSTRAP_SERVE_LOCAL"] = True  # nothing from elsewhere
Bootstrap5(app)


@app.route("/", methods=["GET", "POST"])
def index() -> str | tuple[str, int]:
    """The form; posted, the picture and what the model sees in it."""
    if request.method == "GET":
        return render_template("index.html")
    uploaded = request.files.get("picture")
    if uploaded is None or not uploaded.filename:
        return render_template("index.html", error="Choose a picture first."), 400
    try:
        picture = Image.open(uploaded.stream)
        picture.load()
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        message = f"{uploaded.filename} is not a picture that can be read."
        return render_template("index.html", error=message), 400
    try:
        prediction = get_prediction(picture)
    except NoPrediction as failure:
        return render_template("index.html", error=str(failure)), 502
    return render_template(
        "result.html", prediction=prediction, name=uploaded.filename, picture=as_url(picture)
    )


def as_url(picture: Image.Image) -> str:
    """A picture as a `data:` URL, drawn anew: what was uploaded is neither kept nor sent back."""
    shown = picture.convert("RGB")
    shown.thumbnail((SHOWN_PIXELS, SHOWN_PIXELS))
    encoded = io.BytesIO()
    shown.save(encoded, "PNG")
    return "data:image/png;base64," + base64.b64encode(encoded.getvalue()).decode()


@app.errorhandler(413)
def too_large(_: Exception) -> tuple[str, int]:
    """The upload is larger than LARGEST_UPLOAD_BYTES."""
    message = f"That is more than {LARGEST_UPLOAD_BYTES // MEBIBYTE} MiB."
    return render_template("index.html", error=message), 413


@app.after_request
def restrict(response: Response) -> Response:
    """Let the page load nothing but its own files."""
    response.headers["Content-Security-Policy"] = "default-src 'self'; img-src 'self' data:"
    return response


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ.get("PORT", "5000")))
