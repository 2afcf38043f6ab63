"""The request loggers of a server: made from `logging_config`, and replaced with it.

Source: TensorFlow Serving, `core/server_request_logger.cc`, `core/request_logger.cc` and
`core/log_collector.cc`. Its stock server registers no collector; ours are `file` and `jsonl`.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from salver.codecs.protobuf.tfrecord import write_record
from salver.codecs.protobuf.wire import length_delimited
from salver.config.request_log import LoggingConfig, parse_logging_config
from salver.errors import InvalidArgument, NotFound, ResourceExhausted
from salver.inference.logged import LoggedCall
from salver.request_log.messages import record_of
from salver.request_log.options import RequestLogOptions
from salver.request_log.rotation import RotatingFile
from salver.request_log.writer import NO_OBSERVER, Encode, LogObserver, RecordWriter

__all__ = ["RequestLogger", "RequestLogs", "check_logs"]

_CLOSE_S: Final = 5.0  # what a reload waits for the logs it takes away


class RequestLogger:
    """Samples the calls of the models that share one `LoggingConfig`, and has them written.

    Attributes:
        wants_bodies: see `CallLogger`.
    """

    def __init__(
        self,
        writer: RecordWriter,
        rate: float,
        *,
        wants_bodies: bool,
        options: RequestLogOptions,
    ) -> None:
        """Log at `rate` to `writer`, which it closes."""
        self._writer = writer
        self._rate = rate
        self._uniform = options.uniform
        self._now = options.now
        self.wants_bodies = wants_bodies

    def is_sampled(self) -> bool:
        """Whether the next call is to be logged."""
        return self._uniform() < self._rate

    def log(self, call: LoggedCall) -> None:
        """See `CallLogger`."""
        self._writer.put(call, self._now())

    def begin_close(self) -> None:
        """See `RecordWriter`."""
        self._writer.begin_close()

    def close(self, timeout_s: float) -> bool:
        """See `RecordWriter`."""
        return self._writer.close(timeout_s)


class RequestLogs:
    """All loggers of a server; see `inference.logged.CallLogs`.

    Attributes:
        loggers: by name of the model; replaced as a whole.
    """

    def __init__(
        self, options: RequestLogOptions | None = None, observer: LogObserver = NO_OBSERVER
    ) -> None:
        """Begin with no loggers.

        Args:
            options: see there.
            observer: is told what becomes of the calls.
        """
        self._options = options or RequestLogOptions()
        self._observer = observer
        self._by_config: dict[bytes, RequestLogger] = {}
        self.loggers: Mapping[str, RequestLogger] = MappingProxyType({})

    def update(self, configs: Mapping[str, bytes]) -> None:
        """Log as these configurations say, and in no other way. One call at a time.

        Models of equal configurations share one logger; one that was there before goes on. The
        others are closed, and what they have queued is written. After an error all is as before.

        Args:
            configs: name of a model → serialized `tensorflow.serving.LoggingConfig`.

        Raises:
            NotFound: there is no collector of the type asked for.
            InvalidArgument: it names no files.
            ResourceExhausted: no thread is to be had.
        """
        made: dict[bytes, RequestLogger] = {}
        try:
            for data in configs.values():
                if data not in made:
                    made[data] = self._by_config.get(data) or self._make(data)
        except BaseException:
            _close([made[data] for data in made.keys() - self._by_config.keys()], _CLOSE_S)
            raise
        gone = [self._by_config[data] for data in self._by_config.keys() - made.keys()]
        self._by_config = made
        self.loggers = MappingProxyType({name: made[data] for name, data in configs.items()})
        _close(gone, _CLOSE_S)

    def close(self, timeout_s: float) -> bool:
        """Write what is queued and end. For when no more calls come.

        Returns:
            Whether all is written, and not the time over.
        """
        loggers = list(self._by_config.values())
        self._by_config = {}
        self.loggers = MappingProxyType({})
        return _close(loggers, timeout_s)

    def _make(self, data: bytes) -> RequestLogger:
        options = self._options
        config = parse_logging_config(data, dc=options.dc, task_index=options.task_index)
        collector = _collector_of(config)
        file = RotatingFile(
            config.filename_prefix,
            collector.suffix,
            options.files,
            clock=options.now,
            opener=options.opener,
        )
        encode = collector.encoder(_metadata(config, options))
        try:
            writer = RecordWriter(file, encode, options.queue, self._observer, clock=options.clock)
        except RuntimeError as error:
            raise ResourceExhausted(f"Could not start a request log: {error}") from error
        return RequestLogger(
            writer,
            config.sampling_rate,
            wants_bodies=collector.wants_bodies,
            options=options,
        )


@dataclass(frozen=True, slots=True)
class _Collector:
    suffix: str
    wants_bodies: bool
    encoder: Callable[[bytes], Encode]


def _prediction_logs(metadata: bytes) -> Encode:
    return lambda call, time_s: write_record(record_of(call, time_s, metadata))


def _json_lines(_metadata: bytes) -> Encode:
    from salver.request_log.json_lines import line_of  # here: 9 ms that most servers never need

    return line_of


_COLLECTORS: Final[Mapping[str, _Collector]] = {
    "file": _Collector(".tfrecord", False, _prediction_logs),
    "jsonl": _Collector(".jsonl", True, _json_lines),
}


def check_logs(configs: Mapping[str, bytes]) -> None:
    """Refuse what `RequestLogs.update` would refuse, before anything is done. Opens nothing.

    Raises:
        NotFound: there is no collector of the type asked for.
        InvalidArgument: it names no files.
    """
    for data in dict.fromkeys(configs.values()):
        _collector_of(parse_logging_config(data))


def _collector_of(config: LoggingConfig) -> _Collector:
    collector = _COLLECTORS.get(config.collector_type)
    if collector is None:
        raise NotFound(
            f"Cannot find LogCollector::Factory for type: {config.collector_type}",
            hint=f"Types that are known here: {', '.join(_COLLECTORS)}.",
        )
    if not config.filename_prefix:
        raise InvalidArgument(
            f"log_collector_config of type {config.collector_type} has no filename_prefix"
        )
    if "\0" in config.filename_prefix:
        raise InvalidArgument("filename_prefix has a zero byte, as no file has")
    return collector


def _metadata(config: LoggingConfig, options: RequestLogOptions) -> bytes:
    """The fields of `LogMetadata` that are the same in all records of a log."""
    parts = [length_delimited(2, config.sampling_config)]
    parts += [length_delimited(3, tag.encode()) for tag in options.saved_model_tags]
    if options.dc:
        parts.append(length_delimited(5, options.dc.encode()))
    return b"".join(parts)


def _close(loggers: Sequence[RequestLogger], timeout_s: float) -> bool:
    """Close all of them side by side."""
    for logger in loggers:
        logger.begin_close()
    until_s = time.monotonic() + timeout_s
    has_ended = True
    for logger in loggers:
        has_ended &= logger.close(max(0.0, until_s - time.monotonic()))
    return has_ended
