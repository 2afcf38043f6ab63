from pathlib import Path

import pytest

from salver.config.cloud import Contract, contract_flags, probed_paths, read_contract
from salver.config.flag_sources import parse_all, source_of
from salver.config.options import ServerOptions
from salver.errors import InvalidArgument


def test_without_a_contract_nothing_is_implied() -> None:
    assert read_contract("none", {"AIP_HTTP_PORT": "1"}) is None
    assert list(contract_flags("none", {})) == []
    assert parse_all([], environment={"AIP_HTTP_PORT": "1"}).options == ServerOptions()


def test_each_cloud_probes_a_path_of_its_own() -> None:
    assert probed_paths("none", {"AIP_HEALTH_ROUTE": "/h"}) == ()
    assert probed_paths("sagemaker", {"AIP_HEALTH_ROUTE": "/h"}) == ("/ping",)
    assert probed_paths("vertex", {"AIP_HEALTH_ROUTE": "/h"}) == ("/h",)


def test_sagemaker_asks_on_port_8080() -> None:
    assert read_contract("sagemaker", {}) == Contract(
        "sagemaker", "/opt/ml/model", "", "/ping", "/invocations"
    )
    options = parse_all(["--cloud_contract=sagemaker"], environment={}).options
    assert (options.rest_api_port, options.port, options.host) == (8080, 0, "")
    assert (options.allowed_hosts, options.drain_timeout_seconds) == ("*", 20.0)
    assert options.open_ports_before_load


def test_vertex_says_where_to_listen_and_what_to_serve() -> None:
    environment = {
        "AIP_HTTP_PORT": "9000",
        "AIP_HEALTH_ROUTE": "/health",
        "AIP_PREDICT_ROUTE": "/predict",
        "AIP_STORAGE_URI": "gs://bucket/artifacts",
    }
    contract = Contract("vertex", "gs://bucket/artifacts", "", "/health", "/predict")
    assert read_contract("vertex", environment) == contract
    parsed = parse_all(["--cloud_contract=vertex"], environment=environment)
    assert parsed.options.rest_api_port == 9000
    assert source_of(parsed, "rest_api_port") == "AIP_HTTP_PORT"
    assert source_of(parsed, "port") == "--cloud_contract=vertex"


def test_the_routes_of_vertex_have_defaults() -> None:
    contract = read_contract("vertex", {"AIP_ENDPOINT_ID": "1", "AIP_DEPLOYED_MODEL_ID": "2"})
    assert contract is not None
    assert contract.health_route == "/v1/endpoints/1/deployedModels/2"
    assert contract.predict_route == "/v1/endpoints/1/deployedModels/2:predict"


def test_flags_that_are_set_go_before_what_a_contract_implies() -> None:
    environment = {"SALVER_FLAG_CLOUD_CONTRACT": "sagemaker", "SALVER_FLAG_PORT": "9"}
    parsed = parse_all(
        ["--rest_api_port=1"],
        environment={**environment, "SAGEMAKER_BIND_TO_PORT": "2"},
    )
    assert (parsed.options.rest_api_port, parsed.options.port) == (1, 9)
    assert source_of(parsed, "host") == "--cloud_contract=sagemaker"
    parsed = parse_all(["--cloud_contract=none"], environment=environment)
    assert parsed.options.rest_api_port == 0


@pytest.mark.parametrize(
    ("name", "environment", "text"),
    [
        ("azure", {}, "--cloud_contract must be none or sagemaker or vertex, not 'azure'."),
        ("sagemaker", {"SAGEMAKER_MULTI_MODEL": "True"}, "Multi-model endpoints"),
        ("vertex", {"AIP_HEALTH_ROUTE": "health"}, "AIP_HEALTH_ROUTE: 'health' is no path"),
        ("vertex", {"AIP_PREDICT_ROUTE": "/a b"}, "AIP_PREDICT_ROUTE: '/a b' is no path"),
    ],
)
def test_what_makes_no_sense_is_refused(name: str, environment: dict[str, str], text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read_contract(name, environment)
    assert text in caught.value.message


def test_a_port_that_is_none_is_named_by_its_variable() -> None:
    with pytest.raises(InvalidArgument, match="AIP_HTTP_PORT: Couldn't interpret value x for"):
        parse_all(["--cloud_contract=vertex"], environment={"AIP_HTTP_PORT": "x"})


def test_multi_model_endpoints_are_refused_here_and_not_offered_by_the_image() -> None:
    with pytest.raises(InvalidArgument) as caught:
        read_contract("sagemaker", {"SAGEMAKER_MULTI_MODEL": "true"})
    assert "--max_loaded_models" in (caught.value.hint or "")
    image = Path(__file__).parents[3] / "docker" / "Dockerfile"
    assert "sagemaker.capabilities.accept-bind-to-port" in image.read_text()
    assert "multi-models" not in image.read_text()
