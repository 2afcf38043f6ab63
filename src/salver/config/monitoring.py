"""Where metrics are served, as a MonitoringConfig file says it.

Source: TensorFlow Serving `config/monitoring_config.proto`, `model_servers/http_server.cc`.
"""

import logging
from dataclasses import dataclass
from typing import Final

from salver.config.text_format import read_text_file

__all__ = ["DEFAULT_PATH", "OUR_PATH", "MonitoringConfig", "read_monitoring_config"]

_log = logging.getLogger(__name__)

DEFAULT_PATH: Final = "/monitoring/prometheus/metrics"
OUR_PATH: Final = "/metrics"


@dataclass(frozen=True, slots=True)
class MonitoringConfig:
    """Where metrics are served.

    Attributes:
        paths: of the REST port; empty for nowhere.
    """

    paths: tuple[str, ...] = (DEFAULT_PATH, OUR_PATH)


def read_monitoring_config(path: str) -> MonitoringConfig:
    """What a file says; without one, metrics are on at the reference's path and at ours.

    A file is there to decide: as in the reference, metrics are off if it does not enable them.
    One that does moves the reference's path, and ours stays.

    Args:
        path: of the file; empty for none.

    Raises:
        InvalidArgument: it is no MonitoringConfig.
        ServingError: it cannot be read.
    """
    if not path:
        return MonitoringConfig()
    prometheus = read_text_file(path, "tensorflow.serving.MonitoringConfig").prometheus_config
    if not prometheus.enable:
        return MonitoringConfig(())
    chosen = prometheus.path or DEFAULT_PATH
    if not chosen.startswith("/"):
        _log.warning('No URL has the path "%s" of %s: it does not begin with "/"', chosen, path)
    return MonitoringConfig(tuple(dict.fromkeys((chosen, OUR_PATH))))
