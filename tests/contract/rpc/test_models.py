"""Metadata verbatim, and configurations for a running server."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salver._pb import message_class
from salver.errors import Code
from salver.management.core import ServerCore
from salver.scheduling.run_pool import RunPool
from salver.tfs.rpc.models import ModelService
from tests.contract.rest.server import config, serve, wait_until_available
from tests.contract.rpc.server import Rpc, refusal, rpc_of
from tests.messages import array_of, spec, tensor
from tests.shelf import InlineProgram

X = tensor(np.array([2], np.float32))
Paths = Callable[[str], Path]


async def test_metadata_is_what_the_exporter_wrote(rpc: Rpc, version_path: Paths) -> None:
    for model in ("half_plus_two", "half_plus_two_tf2", "counter", "several"):
        response = await rpc.metadata(model_spec=spec(model), metadata_field=["signature_def"])
        found = message_class("tensorflow.serving.SignatureDefMap")()
        assert response.metadata["signature_def"].Unpack(found)
        saved = message_class("tensorflow.SavedModel").FromString(
            (version_path(model) / "saved_model.pb").read_bytes()
        )
        assert dict(found.signature_def) == dict(saved.meta_graphs[0].signature_def)
    assert found.signature_def["optional"].defaults["scale"].float_val == [3.0]


# -- a new configuration ---------------------------------------------------------------------------


class Server:
    """A server of half_plus_two in a directory of its own, which takes configurations."""

    def __init__(self, root: Path, core: ServerCore, rpc: Rpc, control: ThreadPoolExecutor) -> None:
        self.root = root
        self.core = core
        self.rpc = rpc
        self._control = control

    def in_control(self, call: Callable[[], Any]) -> "asyncio.Future[Any]":
        return asyncio.get_running_loop().run_in_executor(self._control, call)

    def entry(self, name: str, **more: Any) -> dict[str, Any]:
        return {
            "name": name,
            "base_path": str(self.root / name),
            "model_platform": "tensorflow",
            **more,
        }

    async def reload(self, *models: dict[str, Any]) -> Any:
        return await self.rpc.ask(
            "ModelService/HandleReloadConfigRequest",
            config={"model_config_list": {"config": models}},
        )

    async def until_available(self, name: str, version: int) -> None:
        await asyncio.to_thread(wait_until_available, self.core, name, version)

    async def predict(self, name: str, **which: Any) -> list[float]:
        response = await self.rpc.predict(model_spec=spec(name, **which), inputs={"x": X})
        values: list[float] = array_of(response.outputs["y"]).tolist()
        return values


@pytest.fixture
async def server(tmp_path: Path, model_path: Paths, run_pool: RunPool) -> AsyncIterator[Server]:
    for name in ("m", "n"):
        shutil.copytree(model_path("half_plus_two_2_versions"), tmp_path / name)
    shutil.copytree(model_path("half_plus_three"), tmp_path / "three")
    shutil.copytree(model_path("corrupt_pb"), tmp_path / "broken")
    core, _ = serve(run_pool, InlineProgram, (config("m", tmp_path / "m"),))
    with ThreadPoolExecutor(1) as control:
        server = Server(tmp_path, core, rpc_of(core, run_pool), control)
        service = ModelService(core, core.apply, server.in_control)
        server.rpc = Rpc({**server.rpc.table, **service.methods()})
        yield server
        assert core.close(timeout_s=60.0)


async def test_models_come_and_go(server: Server) -> None:
    response = await server.reload(server.entry("m"), server.entry("three"))
    assert (response.status.error_code, response.status.error_message) == (0, "")
    assert (await server.predict("m"), await server.predict("three")) == ([3.0], [4.0])
    await server.reload(server.entry("three"))
    assert (await refusal(server.predict("m"))).message == (
        "Servable not found for request: Latest(m)"
    )
    assert await server.predict("three") == [4.0]
    await server.reload()
    assert (await refusal(server.predict("three"))).code is Code.NOT_FOUND


async def test_a_model_that_stays_answers_while_others_come(server: Server) -> None:
    reloading = asyncio.ensure_future(server.reload(server.entry("m"), server.entry("n")))
    answers = 0
    while not reloading.done():
        assert await server.predict("m") == [3.0]
        answers += 1
        await asyncio.sleep(0)
    await reloading
    assert answers > 0
    assert await server.predict("n") == [3.0]


async def test_labels_are_replaced_as_a_whole(server: Server) -> None:
    both: dict[str, Any] = {"model_version_policy": {"all": {}}}
    await server.reload(server.entry("n", **both))
    await server.until_available("n", 123)
    await server.reload(server.entry("n", version_labels={"stable": 123, "new": 124}, **both))
    response = await server.rpc.predict(model_spec=spec("n", label="stable"), inputs={"x": X})
    assert response.model_spec == spec("n", "serving_default", version=123)
    await server.reload(server.entry("n", version_labels={"new": 123}, **both))
    assert await server.predict("n", label="new") == [3.0]
    error = await refusal(server.predict("n", label="stable"))
    assert (error.code, error.message) == (
        Code.INVALID_ARGUMENT,
        "Unrecognized servable version label: stable",
    )


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        (
            {"base_path": "models/m"},
            Code.INVALID_ARGUMENT,
            "Expected model m to have an absolute path or URI; got base_path()=models/m",
        ),
        (
            {"base_path": ""},
            Code.INVALID_ARGUMENT,
            "Expected model m to have an absolute path or URI; got base_path()=",
        ),
        (
            {"model_platform": "other"},
            Code.INVALID_ARGUMENT,
            "Illegal to change a model's platform. For model m platform was tensorflow and new "
            "platform requested is other",
        ),
        (
            {"model_platform": ""},
            Code.INVALID_ARGUMENT,
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform, model name is m",
        ),
        (
            {"model_type": 1},
            Code.INVALID_ARGUMENT,
            "Illegal setting both ModelServerConfig::model_type (deprecated) and "
            "ModelServerConfig::model_platform, model name is m",
        ),
        (
            {"model_platform": "", "model_type": 2},
            Code.INVALID_ARGUMENT,
            "ModelServerConfig::model_type choice 2 not supported.",
        ),
        (
            {"name": "other", "model_platform": "Tensorflow"},
            Code.INVALID_ARGUMENT,
            "Model other requests unsupported platform Tensorflow",
        ),
    ],
)
async def test_a_configuration_that_is_wrong_is_refused_and_changes_nothing(
    server: Server, changes: dict[str, Any], code: Code, message: str
) -> None:
    error = await refusal(server.reload({**server.entry("m"), **changes}))
    assert (error.code, error.message) == (code, message)
    assert await server.predict("m") == [3.0]


async def test_a_name_listed_twice_is_refused(server: Server) -> None:
    error = await refusal(server.reload(server.entry("m"), server.entry("m")))
    assert error.message == "Illegal to list model m multiple times in config list"


async def test_a_model_that_does_not_load_fails_the_call_and_the_others_are_served(
    server: Server,
) -> None:
    error = await refusal(server.reload(server.entry("broken"), server.entry("three")))
    assert error.code is Code.UNKNOWN
    assert error.message.startswith(
        "1 model(s) did not become available: {{{name: broken version: 1} due to error: DATA_LOSS: "
    )
    assert error.message.endswith("}, }")
    assert (await refusal(server.predict("m"))).code is Code.NOT_FOUND
    await server.until_available("three", 123)
    assert await server.predict("three") == [4.0]


async def test_a_label_of_a_version_that_is_not_there_is_refused(server: Server) -> None:
    await server.reload(server.entry("m", version_labels={"stable": 124}))
    error = await refusal(server.reload(server.entry("m", version_labels={"stable": 99})))
    assert (error.code, error.message) == (
        Code.FAILED_PRECONDITION,
        "Request to assign label to version 99 of model m, which is not currently available for "
        "inference",
    )
    assert await server.predict("m", label="stable") == [3.0]
