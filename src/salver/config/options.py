"""The one table of flags: each field of `ServerOptions` is one, with all there is to say of it.

The command lines, their `--help`, the documentation and the server read this table; nothing else
knows a flag's type or default. The order is that of the reference's own `--help`, then ours.

Source: TensorFlow Serving `model_servers/main.cc` (names, types) and `server.h` (defaults).
"""

import enum
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # so that --help needs no numpy
    from salver.vocabulary.signature import Signature

__all__ = [
    "FLAGS",
    "Announcement",
    "Flag",
    "FlagState",
    "FlagType",
    "LoadProgress",
    "ServeMode",
    "ServedModel",
    "ServerOptions",
    "schedulable_cpus",
    "settings_of",
    "warnings_of",
]


class FlagType(enum.Enum):
    """How a flag's value is written; the values are what `--help` prints."""

    INT32 = "int32"
    INT64 = "int64"
    BOOL = "bool"
    STRING = "string"
    FLOAT = "float"


class FlagState(enum.Enum):
    """Whether setting a flag changes anything; the values are what the documentation prints."""

    WORKS = "works"
    NEVER = "no effect"


@dataclass(frozen=True, slots=True)
class Flag:
    """One row of the table.

    Attributes:
        default: of the Python type that `type` stands for.
        default_text: the default as documentation says it, when it depends on the machine.
        note: why there is no effect; empty for a flag that works.
        per_cpu: of a number whose default is so many for each CPU; 0 for any other.
        alias: another name of it; empty where there is none.
    """

    name: str
    type: FlagType
    default: bool | int | float | str
    help: str
    default_text: str
    state: FlagState
    note: str
    alias: str = ""
    per_cpu: int = 0


def schedulable_cpus() -> int:
    """The CPUs this process may run on; where the system does not say, all there are."""
    affinity = getattr(os, "sched_getaffinity", None)  # absent on macOS
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _flag(
    default: bool | int | float | str,
    help: str,
    *,
    type: FlagType | None = None,
    default_text: str = "",
    never: str = "",
    per_cpu: int = 0,
    alias: str = "",
) -> Any:
    """A field that is a flag.

    Args:
        default: its type decides `type` where that is not given (an int means INT32).
        help: what it does, in a sentence or two.
        type: how the value is written.
        default_text: see `Flag`.
        never: set for a flag that is accepted for compatibility alone: why.
        per_cpu: see `Flag`.
        alias: see `Flag`.
    """
    natural = {bool: FlagType.BOOL, int: FlagType.INT32, str: FlagType.STRING}
    state = FlagState.NEVER if never else FlagState.WORKS
    return field(
        default=default,
        metadata={
            "type": type or natural.get(default.__class__, FlagType.FLOAT),
            "help": help,
            "default_text": default_text,
            "state": state,
            "note": never,
            "per_cpu": per_cpu,
            "alias": alias,
        },
    )


_CPUS = schedulable_cpus()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Every flag under its own name, with the reference's defaults.

    Attributes:
        backend_flags: name and text of those that backends declare; see `backends.options`.
        typed_paths: of this machine, which the arguments of `salver serve` name, and so trust.
        is_reached_from_outside: it listens where others reach it, whatever `host` says: a service
            manager has opened its sockets.
        sources: of the flags that are set: name, and what set it.
    """

    port: int = _flag(8500, "TCP port of the gRPC API; 0 for none.")
    grpc_socket_path: str = _flag(
        "", "Path of a UNIX socket on which the gRPC API listens too; a stale one is replaced."
    )
    rest_api_port: int = _flag(0, "TCP port of the REST API; 0 for none. May be that of --port.")
    rest_api_num_threads: int = _flag(
        4 * _CPUS,
        "Threads in which models run for the REST API; see --grpc_max_threads. By default 4 per "
        "CPU.",
        default_text="4 × CPUs",
        per_cpu=4,
    )
    rest_api_timeout_in_ms: int = _flag(
        30000, "Longest run of a model for one REST call, in milliseconds; 0 or less for no limit."
    )
    rest_api_enable_cors_support: bool = _flag(
        False, "Send CORS headers, so that pages of other origins may call the REST API."
    )
    enable_batching: bool = _flag(False, "Run requests that arrive together as one batch.")
    allow_version_labels_for_unavailable_models: bool = _flag(
        False,
        "Accept a new version label that names a version which is not available yet; needed for "
        "labels in the configuration read at start-up.",
    )
    batching_parameters_file: str = _flag(
        "", "File with a BatchingParameters text protobuf. Needs --enable_batching."
    )
    enable_per_model_batching_parameters: bool = _flag(
        False,
        "Read batching parameters from `batching_params.pbtxt` in each version directory; "
        "--batching_parameters_file then sets only the threads.",
    )
    model_config_file: str = _flag(
        "",
        "File with a ModelServerConfig: the models to serve, their version policies and labels. "
        "YAML or JSON by its ending (`.yaml`, `.yml`, `.json`), else text protobuf. Overrides "
        "--model_name and --model_base_path.",
    )
    model_config_file_poll_wait_seconds: int = _flag(
        0,
        "Longest time between two readings of --model_config_file, in seconds; where the file "
        "system can tell, a change is applied at once. 0 to read it at start-up only.",
    )
    model_name: str = _flag(
        "default", "Name of the model at --model_base_path (without --model_config_file)."
    )
    model_base_path: str = _flag(
        "",
        "Directory whose numbered subdirectories are the versions of the model. Required without "
        "--model_config_file.",
    )
    num_load_threads: int = _flag(
        0, "Threads that load versions after start-up; 0 to load one after another."
    )
    num_unload_threads: int = _flag(
        0, "Threads that unload versions; 0 to unload one after another."
    )
    max_num_load_retries: int = _flag(
        5, "How often a failed load is tried again before the version is given up."
    )
    load_retry_interval_micros: int = _flag(
        60_000_000,
        "Microseconds between two tries to load a version; negative for none.",
        type=FlagType.INT64,
    )
    file_system_poll_wait_seconds: int = _flag(
        1,
        "Seconds between two looks for new versions on disk; 0 to look once, negative to never "
        "look (the server then waits for ever).",
    )
    flush_filesystem_caches: bool = _flag(
        True,
        "After each load, let the operating system drop the version's files from its cache, which "
        "counts against the memory of a container.",
    )
    tensorflow_session_parallelism: int = _flag(
        0,
        "Threads within one operation and across operations of a TensorFlow session; 0 lets "
        "TensorFlow decide.",
        type=FlagType.INT64,
    )
    tensorflow_session_config_file: str = _flag(
        "",
        "File with a ConfigProto text protobuf for TensorFlow sessions. Thread and GPU memory "
        "flags override what it says.",
    )
    tensorflow_intra_op_parallelism: int = _flag(
        0,
        "Threads within one operation; 0 lets TensorFlow decide.",
        type=FlagType.INT64,
    )
    tensorflow_inter_op_parallelism: int = _flag(
        0,
        "Operations that run at once; 0 lets TensorFlow decide.",
        type=FlagType.INT64,
    )
    use_alts_credentials: bool = _flag(
        False, "Use ALTS credentials for gRPC. Works on Google Cloud only."
    )
    ssl_config_file: str = _flag(
        "",
        "File with an SSLConfig text protobuf (PEM contents) that secures the gRPC API.",
    )
    platform_config_file: str = _flag(
        "",
        "File with a PlatformConfigMap text protobuf that replaces what the session, batching, "
        "warmup, tag and TFLite flags say.",
    )
    per_process_gpu_memory_fraction: float = _flag(
        0.0, "Part of each GPU's memory to take at start, 0.0 to 1.0; 0.0 lets TensorFlow decide."
    )
    saved_model_tags: str = _flag(
        "serve", "Comma-separated tags of the graph to load from each SavedModel."
    )
    grpc_channel_arguments: str = _flag(
        "",
        "Comma-separated `key=value` settings of the gRPC library, such as "
        "`grpc.max_connection_age_ms=2000`.",
    )
    grpc_max_threads: int = _flag(
        4 * _CPUS,
        "Threads in which models run for the gRPC API. The two APIs share their threads, and the "
        "larger of the two numbers counts; calls beyond it wait. By default 4 per CPU.",
        default_text="4 × CPUs",
        per_cpu=4,
    )
    enable_model_warmup: bool = _flag(
        True,
        "Replay a version's warmup file, `assets.extra/tf_serving_warmup_requests`, before it "
        "serves.",
    )
    num_request_iterations_for_warmup: int = _flag(
        0, "How often each warmup record is replayed, if more than 0; once otherwise."
    )
    version: bool = _flag(False, "Print the versions of the server and of TensorFlow, and exit.")
    monitoring_config_file: str = _flag(
        "",
        "File with a MonitoringConfig text protobuf: whether metrics are served on the REST "
        "port, and on which path. Without it they are, on `/monitoring/prometheus/metrics` and "
        "`/metrics`.",
    )
    remove_unused_fields_from_bundle_metagraph: bool = _flag(
        True,
        "Keep only the signatures of a loaded model in memory.",
        never="only the signatures are ever kept",
    )
    prefer_tflite_model: bool = _flag(
        False,
        "Serve `model.tflite` where a version directory has one beside a SavedModel; where it is "
        "alone it is served anyway.",
    )
    num_tflite_pools: int = _flag(
        _CPUS,
        "Requests that one TFLite model runs at once. By default 1 per CPU.",
        default_text="CPUs",
        per_cpu=1,
    )
    num_tflite_interpreters_per_pool: int = _flag(
        1, "More than 1 makes TFLite models run requests that wait as one batch."
    )
    enable_signature_method_name_check: bool = _flag(
        False, "Refuse a call whose signature was not exported for that method."
    )
    xla_cpu_compilation_enabled: bool = _flag(
        False,
        "Compile functions that ask for XLA (`jit_compile=True`); without it they fail. TensorFlow "
        "has one switch for CPUs and GPUs.",
    )
    xla_gpu_compilation_enabled: bool = _flag(False, "The same as --xla_cpu_compilation_enabled.")
    enable_profiler: bool = _flag(
        True,
        "Serve TensorFlow's ProfilerService over gRPC: it monitors, and records what TensorFlow "
        "does.",
    )
    thread_pool_factory_config_file: str = _flag(
        "",
        "File with a ThreadPoolFactoryConfig text protobuf. As in the reference's own binary no "
        "factory is built in, so the server refuses to start with one.",
    )
    mixed_precision: str = _flag(
        "", "`bfloat16` runs models in that precision where oneDNN can; nothing else is known."
    )
    skip_initialize_tpu: bool = _flag(
        False, "Do not initialize a TPU at start-up.", never="there is no TPU runtime here"
    )
    enable_grpc_healthcheck_service: bool = _flag(False, "Serve the standard gRPC health service.")
    enable_serialization_as_tensor_content: bool = _flag(
        False, "Answer gRPC Predict with `tensor_content` in place of value fields."
    )

    host: str = _flag("", "Address to listen on; empty for all.")
    drain_timeout_seconds: float = _flag(
        30.0, "Longest wait for requests in flight when the server is told to stop, in seconds."
    )
    drain_delay_seconds: float = _flag(
        0.0,
        "How long readiness already says no before the server stops accepting, in seconds.",
    )
    rest_ssl_config_file: str = _flag(
        "", "File with an SSLConfig text protobuf (PEM contents) that secures the REST API."
    )
    access_log: str = _flag(
        "", "File to which a JSON line per request is appended; `-` for standard output."
    )
    audit_log: str = _flag(
        "",
        "File to which a JSON line is appended for each change of what is served, with who made "
        "it; `-` for standard output.",
    )
    max_request_bytes: int = _flag(1 << 30, "Largest body of a REST request.", type=FlagType.INT64)
    max_inflated_bytes: int = _flag(
        100 << 20,
        "Largest body of a gzipped REST request, if less than --max_request_bytes, and largest "
        "compressed gRPC message, once they are inflated.",
        type=FlagType.INT64,
    )
    max_inflate_ratio: int = _flag(
        1000,
        "Bytes that a gzipped REST request or a compressed gRPC message may become for each byte "
        "that came; counted beyond 1 MiB inflated.",
    )
    max_concurrent_runs_per_model: int = _flag(
        0,
        "Runs of one model at the same time, so that none keeps the threads from others. 0: half "
        "of the threads in which models run, at least 1; of those that run batches, all. Runs that "
        "are short enough for the event loop are not counted.",
    )
    max_queued_runs_per_model: int = _flag(
        10000,
        "Requests that may wait for a run of one model; beyond it they get 503 or "
        "RESOURCE_EXHAUSTED. 0: no limit. Batches have a limit of their own.",
    )
    inline_runs: str = _flag(
        "auto",
        "Where runs of models happen: `auto`, those known to be shorter than a change of threads "
        "in the event loop; `never`, all in threads, which costs a small model most of its "
        "throughput.",
    )
    isolation: str = _flag(
        "none",
        "Where models run: `none`, in the server's own processes; `process`, each in processes of "
        "its own, so that one that crashes harms no other. `salver.isolation` of a model goes "
        "before.",
    )
    model_control_mode: str = _flag(
        "none",
        "Whether clients may load and unload models, by the Open Inference Protocol: `none`, they "
        "may not; `explicit`, those that the configuration names. What it names is loaded at the "
        "start in any case.",
    )
    max_memory_in_flight_bytes: int = _flag(
        0,
        "Memory that requests in flight may hold together: bodies as they come in, what they are "
        "inflated to, and answers that are not read yet. Beyond it requests get 503 or "
        "RESOURCE_EXHAUSTED. 0: half of the memory that the container or the machine has. Shared "
        "by the workers.",
        type=FlagType.INT64,
    )
    max_header_bytes: int = _flag(1 << 16, "Largest head of a REST request, all fields together.")
    open_ports_before_load: bool = _flag(
        False, "Open ports before the first models have loaded; readiness then says no."
    )
    stay_ready: bool = _flag(
        False,
        "Once each model has had an available version, readiness says no only while the server "
        "drains: models that are added later, or lose their last version, take no traffic from "
        "the others.",
    )
    custom_op_libraries: str = _flag(
        "", "Comma-separated shared libraries of TensorFlow operations to load first."
    )
    enable_session_service: bool = _flag(
        False,
        "Serve SessionRun over gRPC. It feeds and runs any node of a graph, also those that save "
        "and restore variables: only for clients that may write files here.",
    )
    enable_open_inference_protocol: bool = _flag(
        True,
        "Serve the Open Inference Protocol (KServe v2, Triton) too, on the same ports: under "
        "`/v2`, and `inference.GRPCInferenceService`.",
    )
    enable_playground: bool = _flag(
        False,
        "Serve a page on which a person can try the models, at `/` of the REST port. On by "
        "default under `salver serve`.",
    )
    dashboard_history_seconds: int = _flag(
        3600,
        "How long the playground's dashboard remembers what happened while nobody looked at it; 0 "
        "to remember nothing.",
    )
    request_log_max_file_bytes: int = _flag(
        1 << 28,
        "A file of a request log (see logging_config) that has so many bytes is complete, and the "
        "next is begun; 0 means no limit.",
        type=FlagType.INT64,
    )
    request_log_max_file_seconds: int = _flag(
        3600, "A file of a request log that is so old is complete too; 0 means no limit."
    )
    request_log_max_total_bytes: int = _flag(
        0,
        "Delete the oldest complete files of a request log, when all of them together have more "
        "bytes; 0 means that none is ever deleted.",
        type=FlagType.INT64,
    )
    request_log_max_queued_records: int = _flag(
        10_000,
        "How many calls may wait for the disk in each request log; what is more is dropped and "
        "counted.",
    )
    request_log_max_queued_bytes: int = _flag(
        1 << 26,
        "How much memory calls that wait for the disk may hold in each request log.",
        type=FlagType.INT64,
    )
    request_log_dc: str = _flag(
        "", "The data center this server is in, for per_task_sampling_configs of logging_config."
    )
    request_log_task_index: int = _flag(
        0, "The number of this server among those of its job, for the same."
    )
    labels_file: str = _flag(
        "",
        "File with the names of classes that the playground shows, one per line or JSON: `PATH` "
        "for every model, or comma-separated `NAME=PATH`. Without it a version's "
        "`assets/labels.txt` is shown.",
    )
    max_ended_versions: int = _flag(
        100,
        "How many versions of a model that have ended are still shown; the oldest ends are "
        "forgotten. 0 for all.",
    )
    max_model_memory_bytes: int = _flag(
        0,
        "Most memory that versions may take together, by an estimate of 1.2 times their files; a "
        "load that does not fit is refused. 0 for no limit.",
        type=FlagType.INT64,
    )
    keras_safe_mode: bool = _flag(
        True,
        "Refuse Keras files (`.keras`, `.h5`) with Python code inside, such as Lambda layers; "
        "false runs it.",
    )
    keras_custom_objects: str = _flag(
        "",
        "Comma-separated Python modules, or paths of `.py` files, that define the layers and "
        "functions of Keras files. Run while such files are converted, in a process of their own.",
    )
    trusted_model_paths: str = _flag(
        "",
        "Comma-separated paths and URIs below which models may be code: Python models, pickles and "
        "the like, which run as the server's user. Empty: none. `salver serve PATH` trusts that "
        "path too.",
    )
    allowed_base_paths: str = _flag(
        "/",
        "Comma-separated paths and URIs below which a configuration that comes over the network "
        "may name base paths, beside those that flags and files name. `/` is any path of this "
        "machine, `*` anything. Empty under `salver serve`: no others.",
    )
    allow_pickle: bool = _flag(
        False,
        "Load pickles (`.pkl`, `.joblib`) too. They are code: below --trusted_model_paths alone.",
    )
    conversion_cache: str = _flag(
        "",
        "Directory in which fetched versions and converted Keras files are kept; empty for "
        "`salver` in the user's own cache directory. Also called --model_cache.",
        default_text="`~/.cache/salver`",
        alias="model_cache",
    )
    conversion_cache_max_bytes: int = _flag(
        10 << 30,
        "Most that is kept there; what was used longest ago is removed, and a version that does "
        "not fit beside those in use is not fetched. 0 for no limit. Also called "
        "--model_cache_max_bytes.",
        type=FlagType.INT64,
        alias="model_cache_max_bytes",
    )
    require_manifest: bool = _flag(
        False,
        "Refuse versions without `SHA256SUMS`, a list of the sums of all their files. Each version "
        "is copied into the model cache, compared with its list, and loaded from there.",
    )
    manifest_public_key_file: str = _flag(
        "",
        "File of Ed25519 public keys (PEM or OpenSSH), one of which must have signed the "
        "`SHA256SUMS` of each version: its `SHA256SUMS.sig`. Needs the extra `signing`.",
    )
    remote_poll_wait_seconds: float = _flag(
        60.0,
        "Seconds between two looks for new versions in a store such as `s3://`, give or take a "
        "tenth; 0 to look until all is found and no more, negative to never look.",
    )
    remote_settle_seconds: float = _flag(
        10.0,
        "Seconds for which the files of a version in a store have to stay the same in its listing "
        "before it is fetched, unless a `SHA256SUMS` says that it is complete; 0 to fetch at once.",
    )
    remote_stale_wait_seconds: float = _flag(
        2.0,
        "Seconds for which a store may say nothing, when a server starts or a model is configured, "
        "until what the model cache has of it is served as stale. It is waited for all the same.",
    )
    remote_timeout_seconds: float = _flag(
        60.0,
        "Longest time for an answer of a store, in seconds: all of a page of a listing or of a "
        "small file. A larger file fails when it has come so long with less than 1,000 bytes a "
        "second, or half as long without any. A connection has a twelfth of it.",
    )
    fetch_bandwidth_bytes_per_second: int = _flag(
        0,
        "Most bytes per second that all fetches from stores take together; 0 for any.",
        type=FlagType.INT64,
    )
    remote_config_file: str = _flag(
        "",
        "Path of a file that says how stores are reached: endpoint, region, credentials, proxy, "
        "by prefixes of base paths; text protobuf, or YAML or JSON by its ending.",
    )
    conversion_timeout_seconds: float = _flag(
        600.0, "Longest time for the conversion of one Keras file, in seconds."
    )
    load_timeout_seconds: float = _flag(
        0.0,
        "Longest time for one try to load a version, warmup and conversion included, in seconds; "
        "then the version ends with DEADLINE_EXCEEDED, until its files change. 0 for any time: a "
        "load is told of after 60 seconds and never given up.",
    )
    grpc_transport: str = _flag(
        "native",
        "What speaks gRPC: `native`, Salver's own HTTP/2, or `grpcio`, the gRPC library, which "
        "--use_alts_credentials needs and which knows every --grpc_channel_arguments.",
    )
    enable_port_sharing: bool = _flag(
        True,
        "Answer gRPC on the REST port and REST on the gRPC port too, where both have the same TLS "
        "settings or the other one is off. Needs --grpc_transport=native.",
    )
    allowed_hosts: str = _flag(
        "",
        "Comma-separated names by which REST may be called, beside those of this machine: "
        "`example.com`, `*.example.com` for all below it, `*` for any. Others get 403, and so do "
        "posts of other pages. Empty checks nothing; `localhost` is the default under `salver "
        "serve`.",
    )
    auth_config_file: str = _flag(
        "",
        "Path of a file that says who may do what: roles, API keys, issuers of tokens, client "
        "certificates; text protobuf, or YAML or JSON by its ending. With it, requests may do only "
        "what it permits; it is read again when it changes. Tokens need the extra `auth`.",
    )
    admin_port: int = _flag(
        0,
        "Port on which administration is answered, and then on no other: reloads, loads and "
        "unloads, `/admin/v1`, log settings. Both APIs are on it, all of them. 0: administration "
        "has no port of its own.",
    )
    admin_socket_path: str = _flag(
        "",
        "Path of a UNIX socket for the same; its owner and group may connect.",
    )
    peer_map_file: str = _flag(
        "",
        "Path of a JSON file that says which other servers there are and which models each has; "
        "it is read again when it changes. A request for a model that is not here is handed on to "
        "one that has it. Empty: this server knows of no other.",
    )
    peer_name: str = _flag("", "Name of this server in --peer_map_file.")
    peer_token_file: str = _flag(
        "",
        "Path of a file with the secret that servers of one map show each other, at least 16 "
        "characters; read again when it changes. The first line is shown, each line is taken. With "
        "it a server believes another one whom a request is from.",
    )
    peer_ssl_config_file: str = _flag(
        "",
        "File with an SSLConfig text protobuf (PEM contents) for connections to other servers: "
        "`custom_ca` is what their certificates are checked against, `server_key` and "
        "`server_cert` are what this one shows. Empty: those connections are not encrypted.",
    )
    peer_certificate_names: str = _flag(
        "",
        "Comma-separated alternative names of certificates; who shows one with such a name is "
        "taken for another server of the map, as one that shows the token is.",
    )
    peer_max_connections: int = _flag(
        128, "Most connections of each process to one other server, for each API."
    )
    peer_max_outstanding_requests: int = _flag(
        1024, "Most requests that wait for one other server, in each process; more get 503."
    )
    peer_connect_timeout_ms: int = _flag(
        1000, "Longest time for a connection to another server to be made, in milliseconds."
    )
    lazy_load_models: bool = _flag(
        False,
        "Load a model when it is first asked for, and not before; a version is available as soon "
        "as its files have been looked at.",
    )
    max_loaded_models: int = _flag(
        0,
        "Most model versions in memory at a time: models are loaded when they are asked for, and "
        "the one asked longest ago makes room. 0 for no limit.",
    )
    verbose: bool = _flag(
        True,
        "Log all that happens, and TensorFlow's own lines; without it only what a person needs to "
        "know. Off by default under `salver serve`.",
    )
    cloud_contract: str = _flag(
        "none",
        "Serve as a container of a cloud's service for models: `sagemaker` or `vertex`. Says where "
        "the server listens, which models it serves, and by which paths it is asked too; `none` "
        "for none.",
    )
    flagfile: str = _flag(
        "",
        "File of flags, one `--name=value` a line; lines that begin with `#` are comments. The "
        "command line, and under `salver serve` the environment, go before it.",
    )
    slow_request_ms: int = _flag(
        0,
        "What takes so many milliseconds is a slow request: the last ones are told with their "
        "stages, and traced where anything is. 0: none is.",
    )
    log_format: str = _flag(
        "text",
        "How log lines are written to standard error: `text`, or `json` for one JSON object a "
        "line. TensorFlow's own lines stay as they are.",
    )
    workers: int = _flag(
        1,
        "Processes that answer requests, each with models of its own, under one that decides for "
        "all. 0 for one per CPU; 1 does without.",
    )

    backend_flags: tuple[tuple[str, str], ...] = ()
    typed_paths: tuple[str, ...] = ()
    is_reached_from_outside: bool = False
    sources: tuple[tuple[str, str], ...] = field(default=(), compare=False)


_DEFAULTS = ServerOptions()

FLAGS: tuple[Flag, ...] = tuple(
    Flag(name=row.name, default=getattr(_DEFAULTS, row.name), **row.metadata)
    for row in fields(ServerOptions)
    if row.metadata
)


def settings_of(options: ServerOptions) -> dict[str, object]:
    """The values of all flags by their names, those that backends declare as texts."""
    values = {flag.name: getattr(options, flag.name) for flag in FLAGS}
    return {**values, **dict(options.backend_flags)}


def warnings_of(set_names: Collection[str]) -> list[str]:
    """One line for each flag that was set and changes nothing, in the order of the table."""
    return [
        f"--{flag.name} has no effect: {flag.note}"
        for flag in FLAGS
        if flag.name in set_names and flag.state is not FlagState.WORKS
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """What the server can say of one model when it starts to answer.

    Attributes:
        versions: the available ones, newest first; empty when none is.
        signatures: of the newest available version.
        error: why it is not available, when that is known.
    """

    name: str
    base_path: str
    versions: tuple[int, ...] = ()
    signatures: "Mapping[str, Signature]" = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """Where the server listens and what it serves there.

    Attributes:
        rest_url: such as `http://127.0.0.1:8501`; empty without the REST API.
        grpc_address: such as `127.0.0.1:8500` or `unix:/run/salver.sock`; empty without gRPC.
        playground_url: of the page on which a person can try the models; empty without it.
        needs_key: whether requests may have to say who asks.
    """

    rest_url: str
    grpc_address: str = ""
    playground_url: str = ""
    needs_key: bool = False
    models: tuple[ServedModel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadProgress:
    """How far the first models are, before the announcement.

    Attributes:
        rest_url: where the server answers already; empty while it does not.
        total: how many models there are.
        loading: those that are not available and have not failed, in the order of the
            configuration.
        seconds: since the start.
        fetching: how far the first of them is that is being fetched: `fetching 3 of 10 MB`; empty
            while none is.
    """

    rest_url: str
    total: int
    loading: tuple[str, ...]
    seconds: float
    fetching: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeMode:
    """How the two commands differ where no flag says it.

    Attributes:
        tolerate_failed_models: serve the rest when a model cannot load at start-up.
        exit_on_bind_failure: end when the REST port cannot be had; the reference goes on.
        tolerate_taken_grpc_port: go on without the gRPC port when it cannot be had.
        announce: called once, when every first model is available or has failed, however long that
            takes. A model without files is not waited for, nor is, once another is available, one
            whose load does not return.
        progress: called now and then before that. Both are called in a thread of their own.
    """

    tolerate_failed_models: bool = False
    exit_on_bind_failure: bool = False
    tolerate_taken_grpc_port: bool = False
    announce: Callable[[Announcement], None] | None = None
    progress: Callable[[LoadProgress], None] | None = None
