"""Where the gRPC API listens and how: TCP, Unix sockets, TLS, compression, sizes, and the services
around the calls."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import trustme
from google.protobuf import descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from salver.vocabulary.dtypes import DataType
from salver.vocabulary.tensorflow_types import number_of
from tests.integration.certificates import ssl_config
from tests.integration.grpc_clients.plain import (
    Client,
    connected,
    message,
    model_spec,
    outcome,
    predict_request,
    tensor,
)
from tests.integration.serving import Server, eventually, free_port

StartServer = Callable[..., Server]
CANNOT_LISTEN = (
    "Failed to start server. Error: INVALID_ARGUMENT: Failed to BuildAndStart gRPC server"
)
HEALTH = {"NOT_SERVING": 2, "SERVING": 1}
PREDICT = "/tensorflow.serving.PredictionService/Predict"


@pytest.fixture
def half_plus_two(model_path: Callable[[str], Path]) -> tuple[str, str]:
    return "--model_name=m", f"--model_base_path={model_path('half_plus_two')}"


def answers(client: Client, **more: Any) -> bool:
    return client.predict("m", {"x": [2.0]}, **more) == {"y": [3.0]}


def refused_code(target: str, credentials: Any = None) -> str:
    """The code of a call that does not wait for a connection that works."""
    request = predict_request(model_spec("m"), {"x": [2.0]})
    with connected(target, credentials=credentials) as client:
        return client.refusal("Predict", request, wait_for_ready=False, timeout=20)[0]


class TestAddresses:
    def test_tcp_and_a_unix_socket_serve_at_once(
        self, half_plus_two: tuple[str, str], tmp_path: Path, start_server: StartServer
    ) -> None:
        path = tmp_path / "grpc.sock"
        server = start_server(*half_plus_two, f"--grpc_socket_path={path}")
        server.err.wait_for("Running gRPC ModelServer at ")
        server.err.wait_for(f"Running gRPC ModelServer at UNIX socket {path} ...")
        for target in (server.grpc_target, f"unix:{path}", f"localhost:{server.grpc_port}"):
            with connected(target) as client:
                assert answers(client)

    def test_a_socket_alone_will_do(
        self, half_plus_two: tuple[str, str], tmp_path: Path, start_server: StartServer
    ) -> None:
        path = tmp_path / "grpc.sock"
        start_server(*half_plus_two, f"--grpc_socket_path={path}", grpc_port=0)
        with connected(f"unix:{path}") as client:
            assert answers(client)

    def test_a_socket_left_over_is_replaced(
        self, half_plus_two: tuple[str, str], tmp_path: Path, start_server: StartServer
    ) -> None:
        path = tmp_path / "grpc.sock"
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
        assert path.is_socket()
        start_server(*half_plus_two, f"--grpc_socket_path={path}")
        with connected(f"unix:{path}") as client:
            assert answers(client)

    def test_a_port_in_use_ends_the_start(
        self, half_plus_two: tuple[str, str], launch_server: StartServer
    ) -> None:
        port = free_port()
        with socket.socket() as other:
            other.bind(("127.0.0.1", port))
            other.listen()
            server = launch_server(*half_plus_two, grpc_port=port)
            assert server.wait() == 255
        server.out.wait_for(CANNOT_LISTEN)

    def test_a_socket_path_that_cannot_be_ends_the_start(
        self, half_plus_two: tuple[str, str], tmp_path: Path, launch_server: StartServer
    ) -> None:
        path = tmp_path / "missing" / "grpc.sock"
        server = launch_server(*half_plus_two, f"--grpc_socket_path={path}")
        assert server.wait() == 255
        server.out.wait_for(CANNOT_LISTEN)

    def test_rest_and_grpc_serve_the_same_models(
        self, half_plus_two: tuple[str, str], start_server: StartServer
    ) -> None:
        server = start_server(*half_plus_two)
        with connected(server.grpc_target) as client:
            assert answers(client)
            assert server.predict("m", [2.0]).json() == {"predictions": [3.0]}

    def test_salver_serve_serves_grpc_too(
        self, model_path: Callable[[str], Path], start_server: StartServer
    ) -> None:
        server = start_server(f"m={model_path('half_plus_two')}", command="salver")
        with connected(server.grpc_target) as client:
            assert answers(client)


class TestTls:
    @pytest.fixture
    def authority(self) -> trustme.CA:
        return trustme.CA()

    @pytest.fixture
    def flag(self, tmp_path: Path) -> Callable[[str], str]:
        def write(text: str) -> str:
            file = tmp_path / "ssl.conf"
            file.write_text(text)
            return f"--ssl_config_file={file}"

        return write

    def test_a_client_that_trusts_the_server_is_served_and_no_other(
        self,
        half_plus_two: tuple[str, str],
        authority: trustme.CA,
        flag: Callable[[str], str],
        start_server: StartServer,
    ) -> None:
        server = start_server(*half_plus_two, flag(ssl_config(authority)))
        trusted = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        for target in (server.grpc_target, f"localhost:{server.grpc_port}"):
            with connected(target, credentials=trusted) as client:
                assert answers(client)
        stranger = grpc.ssl_channel_credentials(trustme.CA().cert_pem.bytes())
        assert refused_code(server.grpc_target, stranger) == "UNAVAILABLE"
        assert refused_code(server.grpc_target) == "UNAVAILABLE"
        assert server.predict("m", [2.0]).json() == {"predictions": [3.0]}  # REST has no TLS

    def test_where_clients_are_verified_one_without_a_certificate_is_turned_away(
        self,
        half_plus_two: tuple[str, str],
        authority: trustme.CA,
        flag: Callable[[str], str],
        start_server: StartServer,
    ) -> None:
        server = start_server(*half_plus_two, flag(ssl_config(authority, verify_clients=True)))
        root = authority.cert_pem.bytes()
        shown = authority.issue_cert("client@example.org")
        chain = b"".join(blob.bytes() for blob in shown.cert_chain_pems)
        known = grpc.ssl_channel_credentials(root, shown.private_key_pem.bytes(), chain)
        with connected(server.grpc_target, credentials=known) as client:
            assert answers(client)
        assert refused_code(server.grpc_target, grpc.ssl_channel_credentials(root)) == "UNAVAILABLE"
        forged = trustme.CA().issue_cert("client@example.org")
        chain = b"".join(blob.bytes() for blob in forged.cert_chain_pems)
        other = grpc.ssl_channel_credentials(root, forged.private_key_pem.bytes(), chain)
        assert refused_code(server.grpc_target, other) == "UNAVAILABLE"

    def test_the_unix_socket_speaks_tls_too(
        self,
        half_plus_two: tuple[str, str],
        tmp_path: Path,
        authority: trustme.CA,
        flag: Callable[[str], str],
        start_server: StartServer,
    ) -> None:
        path = tmp_path / "grpc.sock"
        tls = flag(ssl_config(authority))
        start_server(*half_plus_two, tls, f"--grpc_socket_path={path}")
        trusted = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
        named = (("grpc.ssl_target_name_override", "localhost"),)
        with connected(f"unix:{path}", credentials=trusted, options=named) as client:
            assert answers(client)

    def test_keys_that_are_none_end_the_start(
        self,
        half_plus_two: tuple[str, str],
        flag: Callable[[str], str],
        launch_server: StartServer,
    ) -> None:
        nonsense = flag('server_key: "no key"\nserver_cert: "no certificate"\n')
        assert launch_server(*half_plus_two, nonsense).wait() == 255


class TestMessages:
    @pytest.mark.parametrize("how", ["Gzip", "Deflate", "NoCompression"])
    def test_a_compressed_request_is_understood(self, how: str, client: Client) -> None:
        data = {"x": np.full(20_000, 2.0, np.float32)}
        answer = client.predict("half_plus_two", data, compression=getattr(grpc.Compression, how))
        assert answer == {"y": [3.0] * 20_000}

    def test_a_channel_that_compresses_everything_is_served(
        self, all_models_server: Server
    ) -> None:
        options = (("grpc.default_compression_algorithm", 2), ("grpc.default_compression_level", 3))
        with connected(all_models_server.grpc_target, options=options) as client:
            assert client.predict("half_plus_two", {"x": [2.0]}) == {"y": [3.0]}

    @pytest.mark.parametrize("in_fields", [True, False])
    def test_messages_of_many_megabytes_go_both_ways(self, in_fields: bool, client: Client) -> None:
        """grpcio's own limit would be 4 MiB."""
        sent = np.arange(4_000_000, dtype=np.float32)
        spec = model_spec("every_dtype", signature="float")
        request = predict_request(spec, {"x": tensor(sent, in_fields=in_fields)})
        assert request.ByteSize() > 16e6
        response = client.call("Predict", request)
        assert np.array_equal(np.array(response.outputs["y"].float_val, np.float32), sent)

    def test_long_strings_go_both_ways(self, client: Client) -> None:
        text = bytes(range(256)) * 40_000
        answer = client.predict("every_dtype", {"x": [text, b""]}, signature="string")
        assert answer == {"y": [text, b""]}

    def test_metadata_of_a_client_s_own_is_no_matter(self, client: Client) -> None:
        metadata = (("x-request-id", "7"), ("a-bin", b"\x00\xff"), ("authorization", "Bearer x"))
        assert client.predict("half_plus_two", {"x": [2.0]}, metadata=metadata) == {"y": [3.0]}

    def test_tensor_content_comes_back_with_the_flag(
        self, half_plus_two: tuple[str, str], start_server: StartServer
    ) -> None:
        server = start_server(*half_plus_two, "--enable_serialization_as_tensor_content")
        with connected(server.grpc_target) as client:
            response = client.call("Predict", predict_request(model_spec("m"), {"x": [2.0]}))
        output = response.outputs["y"]
        assert (list(output.float_val), output.tensor_content) == ([], b"\0\0\x40\x40")
        assert server.predict("m", [2.0]).json() == {"predictions": [3.0]}

    def test_the_method_name_is_checked_with_the_flag(
        self, model_path: Callable[[str], Path], start_server: StartServer
    ) -> None:
        server = start_server(
            "--model_name=m",
            f"--model_base_path={model_path('classes')}",
            "--enable_signature_method_name_check",
        )
        request = message("ClassificationRequest", model_spec=model_spec("m"))
        request.input.example_list.examples.add()
        with connected(server.grpc_target) as client:
            assert client.refusal("Classify", request) == (
                "INVALID_ARGUMENT",
                "Expected classification signature method_name to be tensorflow/serving/classify."
                " Was: tensorflow/serving/predict",
            )


class TestChannelArguments:
    def test_they_reach_the_server(
        self, half_plus_two: tuple[str, str], start_server: StartServer
    ) -> None:
        server = start_server(
            *half_plus_two,
            "--grpc_channel_arguments=grpc.max_receive_message_length=1000,"
            "grpc.max_concurrent_streams=4,grpc.optimization_target=latency",
        )
        with connected(server.grpc_target) as client:
            assert answers(client)
            request = predict_request(model_spec("m"), {"x": np.zeros(1000, np.float32)})
            assert client.refusal("Predict", request)[0] == "RESOURCE_EXHAUSTED"

    def test_one_without_a_value_is_refused(
        self, half_plus_two: tuple[str, str], launch_server: StartServer
    ) -> None:
        server = launch_server(*half_plus_two, "--grpc_channel_arguments=a=1,grpc.nothing")
        assert server.wait() == 255
        server.out.wait_for("grpc.nothing")

    def test_responses_are_compressed_when_they_say_so(
        self, half_plus_two: tuple[str, str], start_server: StartServer
    ) -> None:
        server = start_server(
            *half_plus_two, "--grpc_channel_arguments=grpc.default_compression_algorithm=2"
        )
        with connected(server.grpc_target) as client:
            answer = client.predict("m", {"x": np.full(20_000, 2.0, np.float32)})
            assert answer == {"y": [3.0] * 20_000}


class TestHealth:
    @pytest.fixture
    def stub(self, all_models_server: Server) -> Iterator[Any]:
        with connected(all_models_server.grpc_target) as client:
            yield health_pb2_grpc.HealthStub(client.channel)

    @pytest.mark.parametrize(
        "service",
        [
            "",
            "ModelService",
            "PredictionService",
            "tensorflow.serving.ModelService",
            "tensorflow.serving.PredictionService",
        ],
    )
    def test_what_is_served_is_serving(self, service: str, stub: Any) -> None:
        request = health_pb2.HealthCheckRequest(service=service)
        assert stub.Check(request, timeout=30).status == HEALTH["SERVING"]

    def test_what_is_not_known_is_not_found(self, stub: Any) -> None:
        request = health_pb2.HealthCheckRequest(service="nothing")
        assert outcome(lambda: stub.Check(request, timeout=30))[0] == "NOT_FOUND"

    def test_a_watcher_is_told_at_once_what_is_known(self, stub: Any) -> None:
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="PredictionService"), timeout=30)
        assert next(watch).status == HEALTH["SERVING"]
        watch.cancel()

    def test_a_watcher_of_an_unknown_service_is_told_so(self, stub: Any) -> None:
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="nothing"), timeout=30)
        assert next(watch).status == 3  # SERVICE_UNKNOWN
        watch.cancel()

    def test_without_the_flag_there_is_no_such_service(
        self, half_plus_two: tuple[str, str], start_server: StartServer
    ) -> None:
        server = start_server(*half_plus_two)
        with connected(server.grpc_target) as client:
            stub = health_pb2_grpc.HealthStub(client.channel)
            code, _ = outcome(lambda: stub.Check(health_pb2.HealthCheckRequest(), timeout=30))
            assert code == "UNIMPLEMENTED"

    def test_a_server_that_drains_is_not_serving(
        self, half_plus_two: tuple[str, str], start_server: StartServer
    ) -> None:
        server = start_server(
            *half_plus_two, "--enable_grpc_healthcheck_service", "--drain_delay_seconds=3"
        )
        with connected(server.grpc_target) as client:
            stub = health_pb2_grpc.HealthStub(client.channel)
            request = health_pb2.HealthCheckRequest()
            watch = stub.Watch(request, timeout=30)
            assert next(watch).status == HEALTH["SERVING"]
            server.process.terminate()
            assert next(watch).status == HEALTH["NOT_SERVING"]
            assert stub.Check(request, timeout=30).status == HEALTH["NOT_SERVING"]
            assert answers(client)  # those who still come are served until the delay is over
            watch.cancel()
        assert server.wait() == 0

    def test_models_that_are_still_to_come_are_not_serving(
        self, tmp_path: Path, launch_server: StartServer
    ) -> None:
        base = tmp_path / "empty"
        base.mkdir()
        server = launch_server(
            "--model_name=m",
            f"--model_base_path={base}",
            "--enable_grpc_healthcheck_service",
            "--open_ports_before_load",
        )
        with connected(server.grpc_target) as client:
            stub = health_pb2_grpc.HealthStub(client.channel)
            request = health_pb2.HealthCheckRequest()
            answer = stub.Check(request, timeout=60, wait_for_ready=True)
            assert answer.status == HEALTH["NOT_SERVING"]


class TestReflection:
    @pytest.fixture
    def database(self, all_models_server: Server) -> Iterator[Any]:
        with connected(all_models_server.grpc_target) as client:
            yield ProtoReflectionDescriptorDatabase(client.channel)

    def test_the_services_are_listed(self, database: Any) -> None:
        assert set(database.get_services()) >= {
            "tensorflow.serving.PredictionService",
            "tensorflow.serving.ModelService",
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        }

    def test_a_client_that_knows_nothing_can_predict(self, database: Any, client: Client) -> None:
        pool = descriptor_pool.DescriptorPool(database)
        service = pool.FindServiceByName("tensorflow.serving.PredictionService")
        method = service.FindMethodByName("Predict")
        request: Any = message_factory.GetMessageClass(method.input_type)()
        request.model_spec.name = "half_plus_two"
        request.inputs["x"].dtype = number_of(DataType.FLOAT32)
        request.inputs["x"].tensor_shape.dim.add(size=1)
        request.inputs["x"].float_val.append(2.0)
        answer: Any = message_factory.GetMessageClass(method.output_type).FromString(
            client.raw(PREDICT, request.SerializeToString())
        )
        assert list(answer.outputs["y"].float_val) == [3.0]

    @pytest.mark.parametrize(
        "symbol",
        [
            "tensorflow.serving.PredictionService.Predict",
            "tensorflow.serving.PredictRequest",
            "tensorflow.TensorProto",
            "tensorflow.DataType",
        ],
    )
    def test_symbols_are_found(self, symbol: str, database: Any) -> None:
        assert database.FindFileContainingSymbol(symbol).name.endswith(".proto")

    def test_what_is_not_there_is_not_found(self, database: Any) -> None:
        with pytest.raises(KeyError):
            database.FindFileContainingSymbol("no.such.Thing")

    def test_every_file_can_be_built_into_a_pool(self, database: Any) -> None:
        pool = descriptor_pool.DescriptorPool(database)
        for service in database.get_services():
            for method in pool.FindServiceByName(service).methods:
                assert method.input_type.full_name
                assert method.output_type.full_name


def test_a_server_without_ports_for_rest_serves_grpc(
    half_plus_two: tuple[str, str], launch_server: StartServer
) -> None:
    server = launch_server(*half_plus_two, port=0)
    server.err.wait_for("Running gRPC ModelServer at ")
    with connected(server.grpc_target) as client:
        eventually("it answers", lambda: answers(client))
