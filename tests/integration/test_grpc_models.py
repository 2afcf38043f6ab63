"""GetModelMetadata, GetModelStatus, SessionRun and HandleReloadConfigRequest, by a plain client."""

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from salver._pb import message_class
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.tensorflow_types import number_of
from tests.integration.grpc_clients.plain import (
    Client,
    connected,
    message,
    model_spec,
    outcome,
    predict_request,
    tensor,
    values,
)
from tests.integration.serving import Server, eventually, running

Paths = Callable[[str], Path]


class TestMetadata:
    def metadata(self, client: Client, spec: Any) -> Any:
        request = message(
            "GetModelMetadataRequest", model_spec=spec, metadata_field=["signature_def"]
        )
        return client.call("GetModelMetadata", request)

    def test_all_signatures_come_back_packed(self, client: Client) -> None:
        response = self.metadata(client, model_spec("several"))
        assert response.model_spec == model_spec("several", 1)
        assert list(response.metadata) == ["signature_def"]
        packed = response.metadata["signature_def"]
        assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
        signatures = message_class("tensorflow.serving.SignatureDefMap").FromString(packed.value)
        assert {
            "serving_default", "scalar_output", "uneven", "constant", "optional", "not_finite"
        } <= signatures.signature_def.keys()  # fmt: skip
        default = signatures.signature_def["serving_default"]
        assert default.method_name == "tensorflow/serving/predict"
        assert default.inputs["b"].dtype == number_of(DataType.INT32)
        assert [dim.size for dim in default.inputs["a"].tensor_shape.dim] == [-1, 2]

    def test_defaults_come_back_too(self, client: Client) -> None:
        packed = self.metadata(client, model_spec("several")).metadata["signature_def"].value
        signatures = message_class("tensorflow.serving.SignatureDefMap").FromString(packed)
        assert values(signatures.signature_def["optional"].defaults["scale"]) == 3.0

    def test_a_version_or_label_chooses(self, client: Client) -> None:
        for which, version in (({"version": 123}, 123), ({"label": "canary"}, 124)):
            spec = model_spec("versions", **which)
            assert self.metadata(client, spec).model_spec == model_spec("versions", version)

    @pytest.mark.parametrize(
        ("spec", "fields", "code", "text"),
        [
            (model_spec("no"), [], "INVALID_ARGUMENT",
             "GetModelMetadataRequest must specify at least one metadata_field"),
            (model_spec("no"), ["signature_def", "graph"], "INVALID_ARGUMENT",
             "Metadata field graph is not supported"),
            (None, ["signature_def"], "INVALID_ARGUMENT", "Missing ModelSpec"),
            (model_spec("no"), ["signature_def"], "NOT_FOUND",
             "Servable not found for request: Latest(no)"),
            (model_spec("versions", 9), ["signature_def"], "NOT_FOUND",
             "Servable not found for request: Specific(versions, 9)"),
        ],
    )  # fmt: skip
    def test_refusals(
        self, spec: Any, fields: list[str], code: str, text: str, client: Client
    ) -> None:
        request = message("GetModelMetadataRequest", model_spec=spec, metadata_field=fields)
        assert client.refusal("GetModelMetadata", request) == (code, text)


class TestStatus:
    def status(self, client: Client, spec: Any) -> list[tuple[int, int, int, str]]:
        response = client.call("GetModelStatus", message("GetModelStatusRequest", model_spec=spec))
        return [
            (each.version, each.state, each.status.error_code, each.status.error_message)
            for each in response.model_version_status
        ]

    def test_all_versions_highest_first(self, client: Client) -> None:
        assert self.status(client, model_spec("versions")) == [(124, 30, 0, ""), (123, 30, 0, "")]

    def test_one_version(self, client: Client) -> None:
        assert self.status(client, model_spec("versions", 123)) == [(123, 30, 0, "")]

    def test_a_label_is_not_looked_at(self, client: Client) -> None:
        assert len(self.status(client, model_spec("versions", label="unheard of"))) == 2

    @pytest.mark.parametrize(
        ("spec", "code", "text"),
        [
            (None, "INVALID_ARGUMENT", "Missing ModelSpec"),
            (model_spec("no"), "NOT_FOUND", "Could not find any versions of model no"),
            (model_spec(""), "NOT_FOUND", "Could not find any versions of model "),
            (model_spec("versions", 7), "NOT_FOUND", "Could not find version 7 of model versions"),
            (model_spec("versions", -7), "NOT_FOUND",
             "Could not find version -7 of model versions"),
        ],
    )  # fmt: skip
    def test_refusals(self, spec: Any, code: str, text: str, client: Client) -> None:
        request = message("GetModelStatusRequest", model_spec=spec)
        assert client.refusal("GetModelStatus", request) == (code, text)


class TestSessionRun:
    def request(self, fetch: list[str], *, model: str = "half_plus_two", **feeds: Any) -> Any:
        request = message("SessionRunRequest", model_spec=model_spec(model), fetch=fetch)
        for name, data in feeds.items():
            request.feed.add(name=name.replace("__", ":"), tensor=tensor(data))
        return request

    def test_tensors_are_fed_and_fetched_by_their_names(self, client: Client) -> None:
        response = client.call("SessionRun", self.request(["y:0", "y2:0"], x__0=[[2.0]]))
        assert [each.name for each in response.tensor] == ["y:0", "y2:0"]
        assert [values(each.tensor) for each in response.tensor] == [[[3.0]], [[4.0]]]
        assert response.model_spec.name == "half_plus_two"
        assert response.model_spec.version.value == 123

    def test_what_is_not_in_the_graph_is_refused(self, client: Client) -> None:
        code, text = client.refusal("SessionRun", self.request(["nowhere:0"], x__0=[[2.0]]))
        assert code in ("INVALID_ARGUMENT", "NOT_FOUND")
        assert "nowhere" in text

    def test_a_model_that_is_not_there_is_refused(self, client: Client) -> None:
        assert client.refusal("SessionRun", self.request(["y:0"], model="no", x__0=[[2.0]])) == (
            "NOT_FOUND",
            "Servable not found for request: Latest(no)",
        )


def entry(
    name: str, base_path: Path, *, platform: str = "tensorflow", all_versions: bool = False,
    **labels: int,
) -> Any:  # fmt: skip
    config = message(
        "ModelConfig",
        name=name,
        base_path=str(base_path),
        model_platform=platform,
        version_labels=labels,
    )
    if all_versions:
        config.model_version_policy.all.SetInParent()
    return config


def reload_request(*entries: Any, metrics: tuple[str, ...] = ()) -> Any:
    request = message("ReloadConfigRequest", metric_names=metrics)
    request.config.model_config_list.SetInParent()
    request.config.model_config_list.config.extend(entries)
    return request


def reloading(client: Client, *entries: Any) -> Any:
    response = client.call("HandleReloadConfigRequest", reload_request(*entries))
    assert response.status.error_code == 0
    return response


@pytest.fixture
def half(model_path: Paths) -> Path:
    return model_path("half_plus_two")


@pytest.fixture
def server(half: Path) -> Iterator[Server]:
    """A server of one model, `half`, that tests may change as they like."""
    flags = ("--model_name=half", f"--model_base_path={half}", "--max_num_load_retries=0")
    with running(*flags) as server:
        yield server


@pytest.fixture
def own(server: Server) -> Iterator[Client]:
    with connected(server.grpc_target) as client:
        yield client


class Load:
    """Clients that predict without pause, each on a channel of its own."""

    def __init__(self) -> None:
        self.answers = 0
        self.failures: list[str] = []
        self._is_over = threading.Event()

    def work(self, target: str, model: str) -> None:
        with connected(target) as client:
            request = predict_request(model_spec(model), {"x": [2.0]})
            while not self._is_over.is_set():
                code, text = outcome(lambda: self._ask(client, request))
                if code != "OK":
                    self.failures.append(f"{code}: {text}")
                self.answers += 1

    def _ask(self, client: Client, request: Any) -> None:
        response = client.call("Predict", request)
        if values(response.outputs["y"]) != [3.0]:
            self.failures.append(str(response))

    def stop(self) -> None:
        self._is_over.set()


@contextmanager
def under_load(target: str, model: str, clients: int = 3) -> Iterator[Load]:
    """Requests to a model from several clients; none of them may fail."""
    load = Load()
    with ThreadPoolExecutor(clients) as pool:
        futures = [pool.submit(load.work, target, model) for _ in range(clients)]
        try:
            eventually("the load has begun", lambda: load.answers > 10 * clients)
            yield load
            reached = load.answers
            eventually("the load goes on", lambda: load.answers > reached + 10 * clients)
        finally:
            load.stop()
        for future in futures:
            future.result()
    assert load.failures == []


class TestReload:
    def test_models_come_go_and_are_relabelled_under_load_without_a_failed_request(
        self, server: Server, own: Client, half: Path, model_path: Paths
    ) -> None:
        several, versions = model_path("several"), model_path("half_plus_two_2_versions")
        with under_load(server.grpc_target, "half"):
            for _ in range(3):
                reloading(own, entry("half", half), entry("several", several))
                assert own.predict("several", {}, signature="constant") == {"y": [1.0, 2.0]}
                reloading(own, entry("half", half), entry("v", versions, all_versions=True))
                eventually("several is gone", lambda: own.states("several") == {1: "END"})
                eventually(
                    "both are up", lambda: own.states("v") == {124: "AVAILABLE", 123: "AVAILABLE"}
                )
                for label_is_at in (123, 124):
                    labelled = entry("v", versions, all_versions=True, stable=label_is_at)
                    reloading(own, entry("half", half), labelled)
                    spec = model_spec("v", label="stable")
                    response = own.call("Predict", predict_request(spec, {"x": [2.0]}))
                    assert response.model_spec.version.value == label_is_at
                reloading(own, entry("half", half))
                eventually("v is gone", lambda: set(own.states("v").values()) == {"END"})

    def test_a_reload_answers_when_the_new_model_can_be_asked(
        self, own: Client, half: Path, model_path: Paths
    ) -> None:
        reloading(own, entry("half", half), entry("strings", model_path("strings")))
        assert own.predict("strings", {"words": ["fox"]})["ids"] == [3]

    def test_a_model_that_is_not_named_is_unloaded(
        self, own: Client, half: Path, model_path: Paths
    ) -> None:
        reloading(own, entry("strings", model_path("strings")))
        eventually("half is gone", lambda: own.states("half") == {123: "END"})
        assert own.refusal("Predict", predict_request(model_spec("half"), {"x": [2.0]})) == (
            "NOT_FOUND",
            "Servable not found for request: Latest(half)",
        )

    def test_an_empty_list_unloads_everything(self, own: Client) -> None:
        reloading(own)
        eventually("half is gone", lambda: own.states("half") == {123: "END"})

    def test_a_new_version_and_a_label_for_it_may_come_in_one_configuration(
        self, own: Client, half: Path, tmp_path: Path
    ) -> None:
        """The reference never gets there: it wants the version first."""
        base = tmp_path / "growing"
        shutil.copytree(half / "00000123", base / "1")
        reloading(own, entry("g", base))
        reloading(own, entry("g", base, stable=1))
        shutil.copytree(half / "00000123", tmp_path / "next")
        (tmp_path / "next").rename(base / "2")
        reloading(own, entry("g", base, all_versions=True, stable=2))

        def answering() -> int:
            spec = model_spec("g", label="stable")
            response = own.call("Predict", predict_request(spec, {"x": [2.0]}))
            version: int = response.model_spec.version.value
            return version

        eventually("the label has moved", lambda: answering() == 2)

    def test_what_fails_to_load_is_told_and_the_rest_is_served(
        self, server: Server, own: Client, half: Path, model_path: Paths
    ) -> None:
        config = (entry("half", half), entry("broken", model_path("corrupt_pb")))
        with under_load(server.grpc_target, "half"):
            code, text = own.refusal("HandleReloadConfigRequest", reload_request(*config))
        assert code == "UNKNOWN"
        assert text.startswith(
            "1 model(s) did not become available: {{{name: broken version: 1} due to error: "
        )
        assert own.states("broken") == {1: "END"}
        status = own.call(
            "GetModelStatus", message("GetModelStatusRequest", model_spec=model_spec("broken"))
        )
        assert status.model_version_status[0].status.error_code != 0
        assert status.model_version_status[0].status.error_message != ""

    def test_reloads_that_come_together_are_done_one_after_another(
        self, own: Client, half: Path, model_path: Paths
    ) -> None:
        names = ["several", "strings", "classes", "matrix_half_plus_two"]
        calls = [
            own.start(
                "HandleReloadConfigRequest",
                reload_request(entry("half", half), entry(name, model_path(name))),
            )
            for name in names
        ]
        assert [call.result().status.error_code for call in calls] == [0] * len(names)
        up = [name for name in names if "AVAILABLE" in states_of(own, name)]
        assert len(up) == 1

    def test_a_reload_that_waits_for_a_version_holds_up_no_request(
        self, server: Server, own: Client, half: Path, tmp_path: Path
    ) -> None:
        """It waits for ever, as in the reference; its client's deadline is what ends it."""
        empty = tmp_path / "empty"
        empty.mkdir()
        with under_load(server.grpc_target, "half"):
            request = reload_request(entry("half", half), entry("e", empty))
            code, _ = own.refusal("HandleReloadConfigRequest", request, timeout=1.0)
            assert code == "DEADLINE_EXCEEDED"
        shutil.copytree(half / "00000123", empty / "1")
        eventually("it came after all", lambda: states_of(own, "e") == {"AVAILABLE"})
        reloading(own, entry("half", half))

    def test_a_server_told_to_stop_while_a_reload_waits_stops(
        self, server: Server, own: Client, half: Path, tmp_path: Path
    ) -> None:
        empty = tmp_path / "empty"
        empty.mkdir()
        request = reload_request(entry("half", half), entry("e", empty))
        call = own.start("HandleReloadConfigRequest", request)
        server.err.wait_for("No versions of servable e found under base path")
        assert server.stop() == 0
        assert outcome(call.result)[0] in ("CANCELLED", "UNAVAILABLE")

    def test_metrics_that_are_not_known_have_not_grown(self, own: Client, half: Path) -> None:
        request = reload_request(entry("half", half), metrics=("/a/b", "/c"))
        response = own.call("HandleReloadConfigRequest", request)
        found = {metric.name: metric.int64_value_increase for metric in response.metric}
        assert found == {"/a/b": 0, "/c": 0}

    def test_configurations_that_are_wrong_are_refused_and_nothing_changes(
        self, own: Client, half: Path
    ) -> None:
        custom = message("ReloadConfigRequest")
        custom.config.custom_model_config.type_url = "type.googleapis.com/a.B"
        only_lists = (
            "ServerModelConfig type not supported by HandleReloadConfigRequest."
            " Only ModelConfigList is currently supported"
        )
        for request, code, text in [
            (custom, "INVALID_ARGUMENT", only_lists),
            (message("ReloadConfigRequest"), "INVALID_ARGUMENT", only_lists),
            (
                reload_request(entry("half", half), entry("half", half)),
                "INVALID_ARGUMENT",
                "Illegal to list model half multiple times in config list",
            ),
            (
                reload_request(entry("half", half, platform="other")),
                "INVALID_ARGUMENT",
                "Illegal to change a model's platform. For model half platform was tensorflow"
                " and new platform requested is other",
            ),
            (
                reload_request(entry("half", half, stable=7)),
                "FAILED_PRECONDITION",
                "Request to assign label to version 7 of model half, which is not currently"
                " available for inference",
            ),
        ]:
            assert own.refusal("HandleReloadConfigRequest", request) == (code, text)
            assert own.predict("half", {"x": [2.0]}) == {"y": [3.0]}
        assert own.states("half") == {123: "AVAILABLE"}

    @pytest.mark.parametrize(
        ("wrong", "text"),
        [
            (
                {"platform": ""},
                "Illegal setting neither ModelServerConfig::model_type (deprecated) nor"
                " ModelServerConfig::model_platform, model name is new",
            ),
            (
                {"model_type": 1},
                "Illegal setting both ModelServerConfig::model_type (deprecated) and"
                " ModelServerConfig::model_platform, model name is new",
            ),
            ({"platform": "magic"}, "Model new requests unsupported platform magic"),
        ],
        ids=["neither", "both", "unknown"],
    )
    def test_a_platform_that_is_wrong_is_refused_and_the_next_configuration_is_taken(
        self, wrong: dict[str, Any], text: str, own: Client, half: Path
    ) -> None:
        """The reference keeps such a configuration in mind and refuses every one after it."""
        model_type = wrong.pop("model_type", 0)
        new = entry("new", half, **wrong)
        new.model_type = model_type
        request = reload_request(entry("half", half), new)
        refused = own.refusal("HandleReloadConfigRequest", request)
        assert refused == ("INVALID_ARGUMENT", text)
        assert own.predict("half", {"x": [2.0]}) == {"y": [3.0]}
        reloading(own, entry("half", half), entry("new", half))
        assert own.predict("new", {"x": [2.0]}) == {"y": [3.0]}


def states_of(client: Client, model: str) -> set[str]:
    """The states of a model's versions; none when it was never heard of."""
    try:
        return set(client.states(model).values())
    except grpc.RpcError:
        return set()
