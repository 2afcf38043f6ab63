import os
from dataclasses import FrozenInstanceError, fields

import pytest

from salver.config.options import (
    FLAGS,
    FlagState,
    FlagType,
    ServeMode,
    ServerOptions,
    schedulable_cpus,
    settings_of,
    warnings_of,
)

# The reference's table: `model_servers/main.cc` for names and types, `server.h` for defaults.
_C = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
_REFERENCE = [
    ("port", "int32", 8500),
    ("grpc_socket_path", "string", ""),
    ("rest_api_port", "int32", 0),
    ("rest_api_num_threads", "int32", 4 * (_C or 1)),
    ("rest_api_timeout_in_ms", "int32", 30000),
    ("rest_api_enable_cors_support", "bool", False),
    ("enable_batching", "bool", False),
    ("allow_version_labels_for_unavailable_models", "bool", False),
    ("batching_parameters_file", "string", ""),
    ("enable_per_model_batching_parameters", "bool", False),
    ("model_config_file", "string", ""),
    ("model_config_file_poll_wait_seconds", "int32", 0),
    ("model_name", "string", "default"),
    ("model_base_path", "string", ""),
    ("num_load_threads", "int32", 0),
    ("num_unload_threads", "int32", 0),
    ("max_num_load_retries", "int32", 5),
    ("load_retry_interval_micros", "int64", 60000000),
    ("file_system_poll_wait_seconds", "int32", 1),
    ("flush_filesystem_caches", "bool", True),
    ("tensorflow_session_parallelism", "int64", 0),
    ("tensorflow_session_config_file", "string", ""),
    ("tensorflow_intra_op_parallelism", "int64", 0),
    ("tensorflow_inter_op_parallelism", "int64", 0),
    ("use_alts_credentials", "bool", False),
    ("ssl_config_file", "string", ""),
    ("platform_config_file", "string", ""),
    ("per_process_gpu_memory_fraction", "float", 0.0),
    ("saved_model_tags", "string", "serve"),
    ("grpc_channel_arguments", "string", ""),
    ("grpc_max_threads", "int32", 4 * (_C or 1)),
    ("enable_model_warmup", "bool", True),
    ("num_request_iterations_for_warmup", "int32", 0),
    ("version", "bool", False),
    ("monitoring_config_file", "string", ""),
    ("remove_unused_fields_from_bundle_metagraph", "bool", True),
    ("prefer_tflite_model", "bool", False),
    ("num_tflite_pools", "int32", _C or 1),
    ("num_tflite_interpreters_per_pool", "int32", 1),
    ("enable_signature_method_name_check", "bool", False),
    ("xla_cpu_compilation_enabled", "bool", False),
    ("xla_gpu_compilation_enabled", "bool", False),
    ("enable_profiler", "bool", True),
    ("thread_pool_factory_config_file", "string", ""),
    ("mixed_precision", "string", ""),
    ("skip_initialize_tpu", "bool", False),
    ("enable_grpc_healthcheck_service", "bool", False),
    ("enable_serialization_as_tensor_content", "bool", False),
]
_OURS = [
    ("host", "string", ""),
    ("drain_timeout_seconds", "float", 30.0),
    ("drain_delay_seconds", "float", 0.0),
    ("rest_ssl_config_file", "string", ""),
    ("access_log", "string", ""),
    ("audit_log", "string", ""),
    ("max_request_bytes", "int64", 1073741824),
    ("max_inflated_bytes", "int64", 100 << 20),
    ("max_inflate_ratio", "int32", 1000),
    ("max_concurrent_runs_per_model", "int32", 0),
    ("max_queued_runs_per_model", "int32", 10000),
    ("inline_runs", "string", "auto"),
    ("isolation", "string", "none"),
    ("model_control_mode", "string", "none"),
    ("max_memory_in_flight_bytes", "int64", 0),
    ("max_header_bytes", "int32", 65536),
    ("open_ports_before_load", "bool", False),
    ("stay_ready", "bool", False),
    ("custom_op_libraries", "string", ""),
    ("enable_session_service", "bool", False),
    ("enable_open_inference_protocol", "bool", True),
    ("enable_playground", "bool", False),
    ("dashboard_history_seconds", "int32", 3600),
    ("request_log_max_file_bytes", "int64", 268435456),
    ("request_log_max_file_seconds", "int32", 3600),
    ("request_log_max_total_bytes", "int64", 0),
    ("request_log_max_queued_records", "int32", 10000),
    ("request_log_max_queued_bytes", "int64", 67108864),
    ("request_log_dc", "string", ""),
    ("request_log_task_index", "int32", 0),
    ("labels_file", "string", ""),
    ("max_ended_versions", "int32", 100),
    ("max_model_memory_bytes", "int64", 0),
    ("keras_safe_mode", "bool", True),
    ("keras_custom_objects", "string", ""),
    ("trusted_model_paths", "string", ""),
    ("allowed_base_paths", "string", "/"),
    ("allow_pickle", "bool", False),
    ("conversion_cache", "string", ""),
    ("conversion_cache_max_bytes", "int64", 10 << 30),
    ("require_manifest", "bool", False),
    ("manifest_public_key_file", "string", ""),
    ("remote_poll_wait_seconds", "float", 60.0),
    ("remote_settle_seconds", "float", 10.0),
    ("remote_stale_wait_seconds", "float", 2.0),
    ("remote_timeout_seconds", "float", 60.0),
    ("fetch_bandwidth_bytes_per_second", "int64", 0),
    ("remote_config_file", "string", ""),
    ("conversion_timeout_seconds", "float", 600.0),
    ("load_timeout_seconds", "float", 0.0),
    ("grpc_transport", "string", "native"),
    ("enable_port_sharing", "bool", True),
    ("allowed_hosts", "string", ""),
    ("auth_config_file", "string", ""),
    ("admin_port", "int32", 0),
    ("admin_socket_path", "string", ""),
    ("peer_map_file", "string", ""),
    ("peer_name", "string", ""),
    ("peer_token_file", "string", ""),
    ("peer_ssl_config_file", "string", ""),
    ("peer_certificate_names", "string", ""),
    ("peer_max_connections", "int32", 128),
    ("peer_max_outstanding_requests", "int32", 1024),
    ("peer_connect_timeout_ms", "int32", 1000),
    ("lazy_load_models", "bool", False),
    ("max_loaded_models", "int32", 0),
    ("verbose", "bool", True),
    ("cloud_contract", "string", "none"),
    ("flagfile", "string", ""),
    ("slow_request_ms", "int32", 0),
    ("log_format", "string", "text"),
    ("workers", "int32", 1),
]


def test_the_table_is_the_references_and_then_ours() -> None:
    table = [(flag.name, flag.type.value, flag.default) for flag in FLAGS]
    assert table == _REFERENCE + _OURS


def test_every_field_is_a_flag_of_its_own_name() -> None:
    names = [row.name for row in fields(ServerOptions)]
    assert names[: len(FLAGS)] == [flag.name for flag in FLAGS]
    others = ["backend_flags", "typed_paths", "is_reached_from_outside", "sources"]
    assert names[len(FLAGS) :] == others


def test_the_settings_are_all_flags_and_those_of_backends() -> None:
    settings = settings_of(ServerOptions(port=7, backend_flags=(("linear_scale", "2"),)))
    assert settings.keys() - {"linear_scale"} == {flag.name for flag in FLAGS}
    assert (settings["port"], settings["linear_scale"]) == (7, "2")


def test_options_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        ServerOptions().port = 1  # type: ignore[misc]


def test_every_default_is_of_its_flags_type() -> None:
    kinds = {
        FlagType.INT32: int, FlagType.INT64: int, FlagType.BOOL: bool,
        FlagType.STRING: str, FlagType.FLOAT: float,
    }  # fmt: skip
    for flag in FLAGS:
        assert type(flag.default) is kinds[flag.type], flag.name


def test_every_flag_has_a_help_that_is_a_sentence() -> None:
    for flag in FLAGS:
        assert flag.help.endswith("."), flag.name


def test_a_flag_without_effect_says_why_and_a_working_one_says_nothing() -> None:
    for flag in FLAGS:
        assert bool(flag.note) == (flag.state is not FlagState.WORKS), flag.name


def test_a_flag_without_effect_gives_one_warning_when_it_is_set() -> None:
    names = ("skip_initialize_tpu", "model_name")
    assert warnings_of(names) == [
        "--skip_initialize_tpu has no effect: there is no TPU runtime here",
    ]


def test_flags_that_work_give_no_warning() -> None:
    assert warnings_of([flag.name for flag in FLAGS if flag.state is FlagState.WORKS]) == []


def test_cpus_are_counted_where_the_system_tells_no_affinity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert schedulable_cpus() == 3
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert schedulable_cpus() == 1


def test_the_references_mode_is_the_default() -> None:
    mode = ServeMode()
    assert not mode.tolerate_failed_models
    assert not mode.exit_on_bind_failure
    assert not mode.tolerate_taken_grpc_port
    assert mode.announce is None
