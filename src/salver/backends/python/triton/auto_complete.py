"""What `auto_complete_config` of a model for Triton may set."""

import copy
import json
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["ModelConfig"]

_OF_INPUT: Final = ("name", "data_type", "dims", "optional")
_OF_OUTPUT: Final = ("name", "data_type", "dims")


class ModelConfig:
    """The configuration of a model while it is completed.

    What the file says stays: a model that says otherwise gets ValueError, as in Triton.
    """

    def __init__(self, model_config: str) -> None:
        """Take over a configuration as JSON."""
        self._config: dict[str, Any] = json.loads(model_config)

    def as_dict(self) -> dict[str, Any]:
        return self._config

    def set_max_batch_size(self, max_batch_size: int) -> None:
        before = self._config["max_batch_size"]
        if before > max_batch_size:
            raise ValueError(
                f"The configuration has max_batch_size {before}, and auto_complete_config of model "
                f"'{self._config['name']}' sets {max_batch_size}"
            )
        self._config["max_batch_size"] = max_batch_size

    def set_dynamic_batching(self) -> None:
        self._config.setdefault("dynamic_batching", {})

    def add_input(self, input: Mapping[str, Any]) -> None:
        self._add("input", input, _OF_INPUT)

    def add_output(self, output: Mapping[str, Any]) -> None:
        self._add("output", output, _OF_OUTPUT)

    def set_model_transaction_policy(self, transaction_policy_dict: Mapping[str, Any]) -> None:
        if set(transaction_policy_dict) - {"decoupled"}:
            raise ValueError("model_transaction_policy has 'decoupled' alone")
        policy = self._config.setdefault("model_transaction_policy", {})
        for key, value in transaction_policy_dict.items():
            if policy.setdefault(key, value) != value:
                raise ValueError(f"The configuration has decoupled {policy[key]}, not {value}")

    def _add(self, kind: str, given: Mapping[str, Any], known: tuple[str, ...]) -> None:
        if more := [key for key in given if key not in known]:
            raise ValueError(f"An {kind} has {', '.join(known)}, and not {', '.join(more)}")
        for key in ("name", "data_type", "dims"):
            if key not in given:
                raise ValueError(f"An {kind} of auto_complete_config is without its {key}")
        there = next((of for of in self._config[kind] if of["name"] == given["name"]), None)
        if there is None:
            self._config[kind].append(copy.deepcopy(dict(given)))
            return
        for key, before in (("data_type", "TYPE_INVALID"), ("dims", [])):
            said = there.get(key, before)
            if said not in (before, given[key]):
                raise ValueError(
                    f"The configuration says {key} {said} of {kind} '{given['name']}', and "
                    f"auto_complete_config {given[key]}"
                )
            there[key] = given[key]
        if "optional" in given:
            there["optional"] = given["optional"]
