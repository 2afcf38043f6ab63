import math
from collections.abc import Callable

import pytest

from salver.config import checks
from salver.config.options import ServerOptions
from salver.errors import InvalidArgument

_Check = Callable[[ServerOptions], None]


@pytest.mark.parametrize(
    ("check", "options", "text"),
    [
        (
            checks.check_listening,
            ServerOptions(port=0),
            "At least one of server_options.grpc_port or server_options.grpc_socket_path must be "
            "set.",
        ),
        (
            checks.check_credentials,
            ServerOptions(use_alts_credentials=True, ssl_config_file="x"),
            "Either use_alts_credentials must be false or ssl_config_file must be empty.",
        ),
        (
            checks.check_model_source,
            ServerOptions(),
            "Both server_options.model_base_path and server_options.model_config_file are empty!",
        ),
        (
            checks.check_batching,
            ServerOptions(batching_parameters_file="x"),
            "server_options.batching_parameters_file is set without setting "
            "server_options.enable_batching to true.",
        ),
        (
            checks.check_parallelism,
            ServerOptions(
                tensorflow_session_parallelism=1,
                tensorflow_intra_op_parallelism=1,
                tensorflow_inter_op_parallelism=1,
            ),
            "Either configure server_options.tensorflow_session_parallelism or "
            "(server_options.tensorflow_intra_op_parallelism, "
            "server_options.tensorflow_inter_op_parallelism) separately. "
            "You cannot configure all.",
        ),
        (
            checks.check_ours,
            ServerOptions(drain_timeout_seconds=-1.0),
            "--drain_timeout_seconds must be a number of seconds from 0 up, not -1.0.",
        ),
        (
            checks.check_ours,
            ServerOptions(conversion_timeout_seconds=-1.0),
            "--conversion_timeout_seconds must be a number of seconds from 0 up, not -1.0.",
        ),
        (
            checks.check_ours,
            ServerOptions(conversion_cache_max_bytes=-1),
            "--conversion_cache_max_bytes must be from 0 up, not -1; 0 is no limit.",
        ),
        (
            checks.check_ours,
            ServerOptions(drain_delay_seconds=math.inf),
            "--drain_delay_seconds must be a number of seconds from 0 up, not inf.",
        ),
        (
            checks.check_ours,
            ServerOptions(remote_stale_wait_seconds=-1.0),
            "--remote_stale_wait_seconds must be from 0 to 86400, not -1.0.",
        ),
        (
            checks.check_ours,
            ServerOptions(remote_timeout_seconds=0.0),
            "--remote_timeout_seconds must be from 0.01 to 86400, not 0.0.",
        ),
        (
            checks.check_ours,
            ServerOptions(remote_timeout_seconds=math.nan),
            "--remote_timeout_seconds must be from 0.01 to 86400, not nan.",
        ),
        (
            checks.check_ours,
            ServerOptions(max_request_bytes=0),
            "--max_request_bytes must be positive, not 0.",
        ),
        (
            checks.check_ours,
            ServerOptions(rest_api_port=65536),
            "--rest_api_port must be from 0 to 65535, not 65536.",
        ),
        (
            checks.check_ours,
            ServerOptions(rest_api_port=-1),
            "--rest_api_port must be from 0 to 65535, not -1.",
        ),
        (
            checks.check_ours,
            ServerOptions(allowed_hosts="http://a"),
            "--allowed_hosts: 'http://a' is no host",
        ),
        (
            checks.check_ours,
            ServerOptions(grpc_transport="carrier pigeon"),
            "--grpc_transport must be native or grpcio, not 'carrier pigeon'.",
        ),
        (
            checks.check_ours,
            ServerOptions(inline_runs="always"),
            "--inline_runs must be auto or never, not 'always'.",
        ),
        (
            checks.check_ours,
            ServerOptions(workers=-1),
            "--workers must be from 0 to 1024, not -1.",
        ),
        (
            checks.check_ours,
            ServerOptions(workers=1025),
            "--workers must be from 0 to 1024, not 1025.",
        ),
        (
            checks.check_ours,
            ServerOptions(workers=0, grpc_transport="grpcio"),
            "--workers needs --grpc_transport=native, and so works without ALTS: the gRPC library "
            "does not share its ports with other processes.",
        ),
        (
            checks.check_ours,
            ServerOptions(max_ended_versions=-1),
            "--max_ended_versions must be from 0 up, not -1; 0 is no limit.",
        ),
        (
            checks.check_ours,
            ServerOptions(max_model_memory_bytes=-1),
            "--max_model_memory_bytes must be from 0 up, not -1; 0 is no limit.",
        ),
        (
            checks.check_ours,
            ServerOptions(custom_op_libraries=f"{__file__},/no/such.so"),
            "--custom_op_libraries: there is no file /no/such.so",
        ),
    ],
)
def test_flags_that_contradict_each_other_are_refused(
    check: _Check, options: ServerOptions, text: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check(options)
    assert caught.value.message == text


@pytest.mark.parametrize(
    ("check", "options"),
    [
        (checks.check_listening, ServerOptions()),
        (checks.check_listening, ServerOptions(port=0, grpc_socket_path="/s")),
        (checks.check_credentials, ServerOptions(use_alts_credentials=True)),
        (checks.check_credentials, ServerOptions(ssl_config_file="x")),
        (checks.check_model_source, ServerOptions(model_base_path="/m")),
        (checks.check_model_source, ServerOptions(model_config_file="/m")),
        (checks.check_batching, ServerOptions(batching_parameters_file="x", enable_batching=True)),
        (
            checks.check_parallelism,
            ServerOptions(tensorflow_intra_op_parallelism=1, tensorflow_inter_op_parallelism=1),
        ),
        (
            checks.check_parallelism,
            ServerOptions(tensorflow_session_parallelism=1, tensorflow_inter_op_parallelism=1),
        ),
        (checks.check_ours, ServerOptions(drain_timeout_seconds=0.0)),
        (checks.check_ours, ServerOptions(remote_stale_wait_seconds=0.0)),
        (checks.check_ours, ServerOptions(custom_op_libraries=__file__)),
    ],
)
def test_flags_that_fit_together_pass(check: _Check, options: ServerOptions) -> None:
    check(options)


def test_the_rest_api_is_left_out_on_the_port_of_grpc() -> None:
    assert checks.rest_port_refusal(ServerOptions(rest_api_port=8500)) == (
        "server_options.http_port cannot be same as grpc_port. Please use a different port for "
        "HTTP/REST API. Skipped exporting HTTP/REST API."
    )


@pytest.mark.parametrize(
    "options", [ServerOptions(rest_api_port=8501), ServerOptions(port=0, rest_api_port=0)]
)
def test_the_rest_api_is_kept_on_a_port_of_its_own(options: ServerOptions) -> None:
    assert checks.rest_port_refusal(options) is None
