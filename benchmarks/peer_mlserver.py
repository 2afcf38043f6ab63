"""A model behind MLServer, as a runtime of its own: the way its documentation shows."""

from typing import Any

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from peer_model import load


class SavedModel(MLModel):  # type: ignore[misc]
    async def load(self) -> bool:
        self._run = load()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows: Any = self.decode(payload.inputs[0], default_codec=NumpyCodec)
        output = self._run(np.asarray(rows, np.float32))
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("y", output)]
        )
