"""Files of models, read as at the start of a server."""

from salver.config.models import ModelConfig, parse_model_config
from salver.config.text_format import read_file_once

__all__ = ["read_model_config_file"]


def read_model_config_file(path: str) -> tuple[ModelConfig, ...] | None:
    return parse_model_config(read_file_once(path), path)
