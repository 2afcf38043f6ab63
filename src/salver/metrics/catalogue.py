"""The one table of metrics: every name this server serves, with all there is to say of it.

The page, the documentation, the dashboard's test and those who count read this table.

The names, labels and buckets under `/tensorflow/` are TensorFlow Serving's and TensorFlow's, and
so are their units (microseconds); ours begin with `salver_` and follow the conventions of
Prometheus: seconds, bytes, `_total` for counters.

Source: `servables/tensorflow/util.cc`, `servables/tensorflow/saved_model_warmup_util.cc`,
`batching/batching_session.cc`, `core/request_logger.cc`; TensorFlow `core/framework/metrics.cc`
and `cc/saved_model/loader.cc`.
"""

import enum
from dataclasses import dataclass
from typing import Final

from salver.metrics.buckets import G20, L33, P14, P15, Q52, SECONDS

__all__ = ["BY_NAME", "CATALOGUE", "Kind", "Metric"]


class Kind(enum.Enum):
    """What the values of a metric are; the values are what the page says."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table.

    Attributes:
        name: internal; the page shows it as `exported_name` makes it.
        labels: their names, in the order of the page.
        meaning: one sentence, for the documentation.
        bounds: of a histogram's buckets, without infinity.
        is_silent_when_unused: not even its type is told before its first value, as the reference
            registers some metrics on their first use only.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str
    bounds: tuple[float, ...] = ()
    is_silent_when_unused: bool = False

    @property
    def is_ours(self) -> bool:
        """Whether the reference has no such metric."""
        return self.name.startswith("salver_")


_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
_SERVING: Final = "/tensorflow/serving/"
_BATCHING: Final = "/tensorflow/serving/batching_session/"
_MODEL: Final = ("model_name",)
_VERSION: Final = ("model_name", "version")
_CALL: Final = ("model_name", "version", "signature", "method", "entrypoint", "protocol")

CATALOGUE: Final[tuple[Metric, ...]] = (
    # -- the reference's ------------------------------------------------------------------------
    Metric(
        f"{_SERVING}request_count",
        _C,
        ("model_name", "status"),
        "Requests by canonical code: gRPC Predict, Classify and Regress, and every REST request "
        "under `/v1/`; an empty model name where none could be read.",
    ),
    Metric(
        f"{_SERVING}request_latency",
        _H,
        ("model_name", "API", "entrypoint"),
        "Microseconds from a request to its answer, successes only; the API is empty for GET and "
        "OPTIONS.",
        L33,
    ),
    Metric(
        f"{_SERVING}runtime_latency",
        _H,
        ("model_name", "API", "runtime"),
        "Microseconds of the model's run, its time in queues included, successes only; the "
        "runtime is always `TF1`.",
        L33,
    ),
    Metric(
        f"{_SERVING}request_example_counts",
        _H,
        ("model",),
        "Examples in a MultiInference request.",
        P15,
    ),
    Metric(
        f"{_SERVING}request_example_count_total",
        _C,
        ("model",),
        "Examples in MultiInference requests.",
    ),
    Metric(
        f"{_SERVING}model_warmup_latency",
        _H,
        ("model_path", "status"),
        "Microseconds that the warmup of a version took.",
        L33,
    ),
    Metric(
        f"{_SERVING}model_warmup_records_read",
        _C,
        ("model_path", "status"),
        "Records read from warmup files.",
    ),
    Metric(
        f"{_SERVING}request_log_count",
        _C,
        ("model_name", "status_code"),
        "Requests that were to be logged, by `OK` or the code of what kept them out of the log.",
    ),
    Metric(
        f"{_BATCHING}queuing_latency",
        _H,
        ("thread_pool_name",),
        "Microseconds that a task waited for its batch.",
        Q52,
    ),
    Metric(f"{_BATCHING}wrapped_run_count", _C, (), "Batches that were run."),
    Metric(
        f"{_BATCHING}padding_size",
        _H,
        ("execution_batch_size",),
        "Rows of padding in a batch.",
        P14,
        is_silent_when_unused=True,
    ),
    Metric(
        f"{_BATCHING}input_batch_size",
        _H,
        (),
        "Rows of each input tensor of each task.",
        P14,
        is_silent_when_unused=True,
    ),
    Metric(
        f"{_BATCHING}processed_batch_size",
        _H,
        (),
        "Rows of a batch as it was run, padding included.",
        P14,
        is_silent_when_unused=True,
    ),
    # -- TensorFlow's, counted by ourselves -----------------------------------------------------
    Metric(
        "/tensorflow/core/graph_runs",
        _C,
        (),
        "Runs of graphs that answered requests, as seen from outside; a batch is one.",
    ),
    Metric("/tensorflow/core/graph_run_time_usecs", _C, (), "Microseconds these runs took."),
    Metric(
        "/tensorflow/core/graph_run_time_usecs_histogram",
        _H,
        (),
        "Microseconds each of these runs took.",
        G20,
    ),
    Metric(
        "/tensorflow/cc/saved_model/load_attempt_count",
        _C,
        ("model_path", "status"),
        "Tries to load a model, by `success` or `fail`; of the 1,000 paths that were tried last.",
    ),
    Metric(
        "/tensorflow/cc/saved_model/load_latency",
        _C,
        ("model_path",),
        "Microseconds spent on loading a model; of the 1,000 paths that were tried last.",
    ),
    # -- ours: requests -------------------------------------------------------------------------
    Metric(
        "salver_request_seconds",
        _H,
        _CALL,
        "Time from a request to its answer, successes only, of the versions that are loaded.",
        SECONDS,
    ),
    Metric(
        "salver_run_seconds",
        _H,
        _CALL,
        "Time of the model's run within that, queues included.",
        SECONDS,
    ),
    Metric(
        "salver_failed_requests_total",
        _C,
        ("model_name", "version", "code", "entrypoint", "protocol"),
        "Requests that failed, by canonical code; an empty version where none was found for it.",
    ),
    Metric(
        "salver_last_request_timestamp_seconds",
        _G,
        _VERSION,
        "When the last successful request to a version was answered, seconds since the epoch.",
    ),
    Metric(
        "salver_in_flight_requests",
        _G,
        _VERSION,
        "Requests that hold a version now, runs nobody waits for any more included.",
    ),
    Metric(
        "salver_runs_total",
        _C,
        ("model_name", "placement"),
        "Runs of a model by where they were made: `inline` in the event loop, `pool` in threads, "
        "`batch` in batch threads, `child` in processes of the model's own; those that failed, and "
        "those of warmup, included.",
    ),
    Metric(
        "salver_child_restarts_total",
        _C,
        ("model_name", "cause"),
        "Processes of a model that have ended and were replaced, by why: `crash` (a signal), "
        "`exit`, `killed`, `memory` (see `max_resident_bytes`), `timeout` (see `on_timeout`).",
        is_silent_when_unused=True,
    ),
    Metric(
        "salver_inline_demotions_total",
        _C,
        _MODEL,
        "How often runs of a model were kept out of the event loop for a time, because one held "
        "it for long.",
    ),
    # -- ours: models ---------------------------------------------------------------------------
    Metric(
        "salver_versions",
        _G,
        ("model_name", "state"),
        "Versions of a configured model in each state; `FAILED` are those that ended with an "
        "error.",
    ),
    Metric(
        "salver_loads_total",
        _C,
        ("model_name", "outcome"),
        "Tries to load a version, by `success` or `failure`.",
    ),
    Metric(
        "salver_load_seconds_total", _C, _MODEL, "Time spent on loading, failed tries included."
    ),
    Metric(
        "salver_last_load_seconds",
        _G,
        _MODEL,
        "Time the last successful load of a version took, its warmup included.",
    ),
    Metric(
        "salver_reserved_memory_bytes",
        _G,
        _VERSION,
        "Memory set aside for a version, by an estimate from its files.",
    ),
    Metric(
        "salver_child_resident_memory_bytes",
        _G,
        _VERSION,
        "Memory in RAM of the processes of a version that runs in processes of its own.",
        is_silent_when_unused=True,
    ),
    Metric(
        "salver_resident_versions",
        _G,
        (),
        "Versions in memory, or on their way in or out, where models are loaded when asked for.",
    ),
    Metric(
        "salver_evictions_total",
        _C,
        _MODEL,
        "How often a version of a model had to leave memory to make room for another.",
    ),
    Metric(
        "salver_remote_requests_total",
        _C,
        ("scheme", "operation", "code"),
        "Requests to stores such as `s3`: `list`, `head`, `get`, `put` and `delete`, by `ok`, the "
        "status of HTTP, or a word for why there was no answer.",
        is_silent_when_unused=True,
    ),
    Metric(
        "salver_fetched_bytes_total",
        _C,
        _MODEL,
        "Bytes of versions that were fetched from stores.",
        is_silent_when_unused=True,
    ),
    Metric(
        "salver_model_cache_bytes",
        _G,
        (),
        "What the model cache takes on its disk: fetched versions and converted Keras files.",
        is_silent_when_unused=True,
    ),
    Metric(
        "salver_fetch_seconds_total",
        _C,
        _MODEL,
        "Time spent on fetching versions, failed tries included.",
        is_silent_when_unused=True,
    ),
    # -- ours: batches --------------------------------------------------------------------------
    Metric("salver_batch_rows", _H, _VERSION, "Rows of requests in a batch, without padding.", P14),
    Metric(
        "salver_batch_queue_seconds",
        _H,
        _VERSION,
        "Time that a task waited for its batch.",
        SECONDS,
    ),
    # -- ours: the process ----------------------------------------------------------------------
    Metric("salver_connections", _G, ("entrypoint",), "Open connections of the REST API."),
    Metric(
        "salver_memory_in_flight_bytes",
        _G,
        (),
        "Memory that requests hold: bodies that come in or are worked on, and answers that are not "
        "read yet.",
    ),
    Metric(
        "salver_rejected_requests_total",
        _C,
        ("model_name", "reason"),
        "Requests that were refused because the server has too much to do: the `queue` of runs of "
        "the model is full, or takes longer than the `deadline` of the request, or requests in "
        "flight hold all `memory` they may; or because their client has had what its role may "
        "have: its `rate`, its `concurrency`. Of the last three the model's name is empty.",
    ),
    Metric(
        "salver_principal_requests_total",
        _C,
        ("principal", "model_name", "code"),
        "Requests by who has sent them, and by canonical code, where `--auth_config_file` says who "
        "may. Past 1000 principals their name is empty; a model's is where no such one is "
        "configured.",
        is_silent_when_unused=True,
    ),
    Metric(
        "salver_auth_decisions_total",
        _C,
        ("outcome",),
        "What was decided of requests where access is controlled: `allowed`, `no_credentials`, "
        "`wrong_credentials` (expired and revoked ones too), `denied` by the role, `no_keys` of "
        "the issuer of a token.",
        is_silent_when_unused=True,
    ),
    Metric(
        "salver_forwarded_requests_total",
        _C,
        ("outcome",),
        "Requests for models that are not here, with `--peer_map_file`: `answered` by another "
        "server, `unreachable` where none could be asked, `lost` where one was asked and has not "
        "answered, `overloaded` where too many wait for it, `late`, `cancelled` by who has asked.",
        is_silent_when_unused=True,
    ),
    Metric(
        "salver_peer_requests_total",
        _C,
        ("peer", "outcome"),
        "What became of asking other servers: `answered`, `absent` (it has not got the model "
        "either), `not_begun` (it cannot be reached, or has closed before it had the request), "
        "`refused` our token, `lost`, `late`, `cancelled`. A request may ask several.",
        is_silent_when_unused=True,
    ),
    Metric(
        "salver_peer_outstanding_requests",
        _G,
        ("peer",),
        "Requests that wait for another server now.",
        is_silent_when_unused=True,
    ),
    Metric(
        "salver_peer_connections",
        _G,
        ("peer",),
        "Connections to another server.",
        is_silent_when_unused=True,
    ),
    Metric(
        "salver_peers_put_aside",
        _G,
        (),
        "Other servers that are not asked for a while, because they have failed.",
        is_silent_when_unused=True,
    ),
    Metric(
        "salver_peer_map_generation",
        _G,
        (),
        "Generation of the map of other servers that is in effect.",
        is_silent_when_unused=True,
    ),
    Metric(
        "salver_dropped_log_records_total",
        _C,
        ("log", "reason"),
        "Records that an `access`, `audit` or `request` log has lost, and why.",
    ),
    Metric(
        "salver_loop_lag_seconds",
        _H,
        (),
        "How late the event loop came to a timer, taken twice a second.",
        SECONDS,
    ),
    Metric(
        "salver_dropped_spans_total",
        _C,
        (),
        "Spans that were to be exported and were not, because too many waited or the collector did "
        "not take them; absent where nothing is traced.",
        is_silent_when_unused=True,
    ),
    Metric(
        "salver_build_info",
        _G,
        ("version", "python", "tensorflow"),
        "Always 1; its labels say what is running. TensorFlow's version is empty where it is not "
        "installed.",
    ),
    Metric(
        "salver_workers",
        _G,
        (),
        "Worker processes that serve; absent where one process does all.",
        is_silent_when_unused=True,
    ),
    Metric(
        "salver_worker_deaths_total",
        _C,
        (),
        "Worker processes that have ended unasked.",
        is_silent_when_unused=True,
    ),
    Metric(
        "salver_quarantined_versions",
        _G,
        _MODEL,
        "Versions of a model that are kept from the workers because workers died of them.",
        is_silent_when_unused=True,
    ),
    Metric(
        "salver_worker_accepted_connections_total",
        _C,
        ("worker",),
        "Connections that a worker, or its predecessors in the same place, have accepted.",
        is_silent_when_unused=True,
    ),
    Metric(
        "salver_worker_resident_memory_bytes",
        _G,
        ("worker",),
        "Memory of a worker process in RAM.",
        is_silent_when_unused=True,
    ),
    Metric("salver_process_cpu_seconds_total", _C, (), "User and system time of the process."),
    Metric("salver_process_resident_memory_bytes", _G, (), "Memory of the process in RAM."),
    Metric("salver_process_open_fds", _G, (), "Open file descriptors."),
    Metric("salver_process_max_fds", _G, (), "The most file descriptors there may be."),
    Metric("salver_process_threads", _G, (), "Threads of the process, TensorFlow's included."),
    Metric(
        "salver_process_start_time_seconds",
        _G,
        (),
        "When the process started, in seconds since the epoch.",
    ),
)

BY_NAME: Final = {metric.name: metric for metric in CATALOGUE}
