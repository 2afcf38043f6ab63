"""The JSON Schema of a YAML or JSON model config file, for editors: made from its message."""

import itertools
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor

from salver._pb import message_class
from salver.config.model_files import MESSAGE
from salver.config.structured import is_map, is_message, is_repeated, is_wrapper

__all__ = ["DESCRIPTIONS", "json_schema"]

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_INT64: Final = {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^-?[0-9]{1,19}$"}]}
_OF_TYPE: Final[dict[int, dict[str, Any]]] = {
    FieldDescriptor.CPPTYPE_STRING: {"type": "string"},
    FieldDescriptor.CPPTYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.CPPTYPE_INT32: {"type": "integer", "minimum": 0, "maximum": (1 << 31) - 1},
    FieldDescriptor.CPPTYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": (1 << 32) - 1},
    FieldDescriptor.CPPTYPE_INT64: _INT64,
    FieldDescriptor.CPPTYPE_DOUBLE: {"type": "number"},
}

DESCRIPTIONS: Final = {
    "ModelServerConfig.model_config_list": "The models, by the name of the message: see models.",
    "ModelServerConfig.custom_model_config": "Not served.",
    "ModelConfigList.config": "The models.",
    "ModelConfig.name": "The name by which the model is asked for.",
    "ModelConfig.base_path": "The directory that holds the numbered versions; a relative one is "
    "taken from the directory of this file.",
    "ModelConfig.model_type": "Deprecated: say model_platform.",
    "ModelConfig.model_platform": "What runs it; tensorflow: what its files ask for.",
    "ModelConfig.logging_config": "Which calls are logged, and where to.",
    "ModelConfig.model_version_policy": "Which versions are served: the latest one by default.",
    "ModelConfig.version_labels": "Names for versions, by which they may be asked for.",
    "ModelConfig.salver": "What only Salver knows.",
    "ServableVersionPolicy.latest": "The versions with the highest numbers.",
    "ServableVersionPolicy.all": "Every version there is.",
    "ServableVersionPolicy.specific": "These versions.",
    "Latest.num_versions": "How many; 1 by default.",
    "Specific.versions": "Their numbers.",
    "LoggingConfig.log_collector_config": "What writes the log, and where to.",
    "LoggingConfig.sampling_config": "How many of the calls are logged.",
    "LoggingConfig.custom_logging_config": "Not used.",
    "LogCollectorConfig.type": "What writes the log.",
    "LogCollectorConfig.filename_prefix": "The names of its files start with this.",
    "SamplingConfig.sampling_rate": "Share of the calls, from 0 to 1.",
    "SamplingConfig.attributes": "Not used.",
    "SamplingConfig.per_task_sampling_configs": "Other shares for some servers of a job.",
    "PerTaskSamplingConfig.dc": "The --request_log_dc of the servers that this is for; any "
    "without it.",
    "PerTaskSamplingConfig.task_index": "The --request_log_task_index of the server that this is "
    "for; any without it.",
    "PerTaskSamplingConfig.sampling_rate": "Share of the calls, from 0 to 1.",
    "ModelOptions.isolation": "process: processes of its own run the model; none: the server's own "
    "do. Without it as --isolation says.",
    "ModelOptions.instances": "Processes of the model in each worker; 1 without it.",
    "ModelOptions.max_resident_bytes": "A process of the model that has more memory is replaced; 0 "
    "for any amount.",
    "ModelOptions.cpus": "CPUs, and threads that compute, for each process; 0 for all.",
    "ModelOptions.max_concurrent_runs": "Runs of the model at the same time, in place of "
    "--max_concurrent_runs_per_model; 0 for half of the threads.",
    "ModelOptions.max_queued_runs": "Requests that may wait for a run of the model, in place of "
    "--max_queued_runs_per_model; 0 for any number.",
    "ModelOptions.python_executable": "Absolute path of the Python that runs the processes of the "
    "model; the server's without it.",
    "ModelOptions.on_timeout": "What becomes of a run that nobody waits for any more: cooperative "
    "asks it to end, kill ends its process if it does not.",
    "ModelOptions.options": "Options of what runs the model: name and value.",
    "ModelOptions.replicas": "On how many machines the model is; this server knows of one.",
    "ModelOptions.batching": "How requests of the model are merged, in place of what "
    "--batching_parameters_file or the version says; counts with --enable_batching.",
    "BatchingParameters.max_batch_size": "Most rows of a request, and of a batch; 1000 without it.",
    "BatchingParameters.batch_timeout_micros": "How long a batch waits for more rows; 0 without "
    "it.",
    "BatchingParameters.max_enqueued_batches": "Batches that may wait; 10 without it.",
    "BatchingParameters.num_batch_threads": "Of the server; not for one model.",
    "BatchingParameters.thread_pool_name": "Of the server; not for one model.",
    "BatchingParameters.allowed_batch_sizes": "Rows that batches are filled up to; the last is "
    "max_batch_size.",
    "BatchingParameters.pad_variable_length_inputs": "Whether inputs are padded to the longest of "
    "a batch.",
    "BatchingParameters.enable_large_batch_splitting": "Whether a large request may lie in several "
    "batches.",
    "BatchingParameters.max_execution_batch_size": "Most rows of a batch, with "
    "enable_large_batch_splitting.",
    "Replicas.min": "1 or 0.",
    "Replicas.max": "1 or 0.",
    "Replicas.pinned": "false.",
}
"""Message and field → what it is."""


def json_schema() -> dict[str, Any]:
    """The schema, as JSON would have it."""
    kinds: dict[str, dict[str, Any]] = {}
    top = _of_message(message_class(MESSAGE).DESCRIPTOR, kinds)
    of_list = kinds.pop("ModelConfigList")
    top["properties"] = {
        "schema": {"const": 1, "description": "The edition of this format."},
        "models": of_list["properties"]["config"],
        **top["properties"],
    }
    kinds["ModelConfigList"] = of_list
    top["not"] = _at_most_one(["models", "model_config_list", "custom_model_config"])
    return {
        "$schema": _DIALECT,
        "title": "Models served by Salver",
        **top,
        "$defs": dict(sorted(kinds.items())),
    }


def _of_message(descriptor: Any, kinds: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The schema of a message; those of messages within go to `kinds`."""
    properties = {}
    also = {}
    for found in descriptor.fields:
        schema = {
            "description": DESCRIPTIONS[f"{descriptor.name}.{found.name}"],
            **_of_field(found, kinds),
        }
        if found.GetOptions().deprecated:
            schema["deprecated"] = True
        properties[found.name] = schema
        if found.json_name != found.name:  # taken, and not what an editor offers
            also[f"^{found.json_name}$"] = schema
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if also:
        schema["patternProperties"] = also
    for choice in descriptor.oneofs:
        if len(choice.fields) > 1:
            schema["not"] = _at_most_one([found.name for found in choice.fields])
    return schema


def _at_most_one(names: list[str]) -> dict[str, Any]:
    """What is wrong with an object that has two of some properties."""
    return {"anyOf": [{"required": list(pair)} for pair in itertools.combinations(names, 2)]}


def _of_field(found: FieldDescriptor, kinds: dict[str, dict[str, Any]]) -> dict[str, Any]:
    if is_map(found):
        assert found.message_type is not None
        values = _of_value(found.message_type.fields_by_name["value"], kinds)
        if values.get("type") == "string":  # of options: read as it is written
            values = {"type": ["string", "number", "boolean"]}
        return {"type": "object", "additionalProperties": values}
    if is_repeated(found):
        return {"type": "array", "items": _of_value(found, kinds)}
    return _of_value(found, kinds)


def _of_value(found: FieldDescriptor, kinds: dict[str, dict[str, Any]]) -> dict[str, Any]:
    kind = found.message_type
    if kind is not None and is_message(found):
        if kind.name not in kinds:
            kinds[kind.name] = {}  # for what is within itself
            kinds[kind.name] = _of_message(kind, kinds)
        return {"$ref": f"#/$defs/{kind.name}"}
    if kind is not None and is_wrapper(found):
        return _OF_TYPE[kind.fields_by_name["value"].cpp_type]
    if kind is not None:  # an Any
        return {"type": "object", "required": ["@type"]}
    if found.enum_type is not None:
        return {"enum": [value.name for value in found.enum_type.values]}
    return _OF_TYPE[found.cpp_type]
