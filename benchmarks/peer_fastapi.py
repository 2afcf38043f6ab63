"""A model behind FastAPI, on uvicorn with uvloop and httptools, JSON by orjson: one process."""

import argparse

import numpy as np
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response
from peer_model import load


def app() -> FastAPI:
    run = load()
    served = FastAPI()

    @served.post("/v1/models/m:predict")
    async def predict(request: Request) -> Response:
        rows = np.array(orjson.loads(await request.body())["instances"], np.float32)
        answer = orjson.dumps({"predictions": run(rows)}, option=orjson.OPT_SERIALIZE_NUMPY)
        return Response(answer, media_type="application/json")

    return served


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    uvicorn.run(
        app(),
        host="127.0.0.1",
        port=arguments.parse_args().port,
        loop="uvloop",
        http="httptools",
        access_log=False,
    )


if __name__ == "__main__":
    main()
