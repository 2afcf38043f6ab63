"""What `salver serve --help` prints: the flags that people look for, by what they are for."""

import shutil
import textwrap
from typing import Final

from salver.config.flags import shown_default
from salver.config.options import FLAGS, Flag, ServerOptions

__all__ = ["GROUPS", "serve_help"]

GROUPS: Final = (
    (
        "Where it listens",
        (
            "rest_api_port", "port", "host", "allowed_hosts", "grpc_socket_path",
            "rest_ssl_config_file", "ssl_config_file", "rest_api_enable_cors_support",
        ),
    ),
    ("Who may do what", ("auth_config_file", "admin_port", "admin_socket_path", "audit_log")),
    (
        "Which models",
        (
            "model_config_file", "model_config_file_poll_wait_seconds", "lazy_load_models",
            "max_loaded_models", "prefer_tflite_model", "keras_safe_mode", "keras_custom_objects",
            "trusted_model_paths", "require_manifest", "enable_model_warmup",
        ),
    ),
    (
        "How they run",
        (
            "workers", "enable_batching", "batching_parameters_file", "rest_api_timeout_in_ms",
            "tensorflow_intra_op_parallelism", "tensorflow_inter_op_parallelism",
        ),
    ),
    (
        "What is shown",
        (
            "verbose", "enable_playground", "labels_file", "access_log", "monitoring_config_file",
            "log_format", "slow_request_ms", "enable_grpc_healthcheck_service",
        ),
    ),
    ("How it stops", ("drain_timeout_seconds", "drain_delay_seconds")),
)  # fmt: skip
"""Title → flags; `--help-all` has all there are."""

_ABOUT: Final = """\
Serve models over REST and gRPC, with a page on which to try them. PATH is a model directory (with
versions in numbered subdirectories), a model without versions, such as a SavedModel, a directory
of such models, or a file: net.onnx, trees.ubj, house.keras. New versions in a model directory take
over while the server runs. A Python model is run as the code that it is: PATH is trusted.
"""
_EXAMPLES: Final = """\
Examples:
  salver serve ./digits                         then open http://127.0.0.1:8501/
  salver serve price=./runs/42 house.keras      two models, one under a name of its own
  salver serve ./digits --rest_api_port=9000    another port
  salver serve ./digits --host=0.0.0.0          for other machines too
  salver serve ./models --workers=4             four processes
  salver serve --model_config_file=models.config
"""
_INDENT: Final = 4
_WIDEST: Final = 100


def serve_help(usage: str, defaults: ServerOptions) -> str:
    """The text.

    Args:
        usage: how the command is called.
        defaults: of the flags.
    """
    width = min(shutil.get_terminal_size((_WIDEST, 24)).columns, _WIDEST)
    by_name = {flag.name: flag for flag in FLAGS}
    parts = [f"usage: {usage}\n", _ABOUT, _EXAMPLES]
    for title, names in GROUPS:
        lines = [_flag(by_name[name], defaults, width) for name in names]
        parts.append(f"{title}:\n" + "\n".join(lines) + "\n")
    count = len(FLAGS) - sum(len(names) for _, names in GROUPS)
    parts.append(f"salver serve --help-all lists {count} more flags.\n")
    return "\n".join(parts)


def _flag(flag: Flag, defaults: ServerOptions, width: int) -> str:
    default = shown_default(flag, defaults).strip('"')
    about = textwrap.fill(
        flag.help.replace("`", ""),
        max(width, 40),
        initial_indent=" " * 2 * _INDENT,
        subsequent_indent=" " * 2 * _INDENT,
    )
    return f"{' ' * _INDENT}--{flag.name}={default}\n{about}"
