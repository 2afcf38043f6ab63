"""The manifests of `deploy/kubernetes`, and what says whether they are valid."""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

__all__ = ["KUBERNETES", "Manifest", "container_of", "files", "manifests", "one", "problems"]

KUBERNETES = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
_SCHEMAS = Path(__file__).parent / "kubernetes"
_OURS = {
    "Kustomization": "kustomization",
    "ServiceMonitor": "servicemonitor",
    "ServingRuntime": "servingruntime",
    "ClusterServingRuntime": "servingruntime",
    "InferenceService": "inferenceservice",
    "RayCluster": "raycluster",
}
_PATCHES = frozenset({"statefulset/configmap.yaml"})
_IS_NO_MANIFEST = frozenset({"prometheus-adapter.yaml"})  # values for a chart

Manifest = Mapping[str, Any]


def files() -> list[Path]:
    """Every file with manifests."""
    found = (p for p in sorted(KUBERNETES.rglob("*.yaml")) if p.name not in _IS_NO_MANIFEST)
    return list(found)


def manifests(path: str) -> list[Any]:
    """What a file holds."""
    return list(yaml.safe_load_all((KUBERNETES / path).read_text()))


def one(path: str, kind: str, name: str | None = None) -> Any:
    """The only manifest of a kind in a file, or that of a name."""
    (found,) = (
        each
        for each in manifests(path)
        if each["kind"] == kind and name in (None, each.get("metadata", {}).get("name"))
    )
    return found


def container_of(spec: Manifest) -> Any:
    """The only container of the spec of a pod."""
    (container,) = spec["containers"]
    return container


def problems(manifest: Manifest, version: str) -> list[str]:
    """What is wrong with a manifest, by Kubernetes' schemas of a version and ours.

    Args:
        manifest: any.
        version: of Kubernetes, such as `1.33`.
    """
    name = _OURS.get(manifest["kind"])
    if name is not None:
        return _ours(manifest, name, version)
    validate = _kubernetes_validate()
    try:
        validate.validate(dict(manifest), version, strict=True)
    except validate.ValidationError as error:
        return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}"]
    return []


def _kubernetes_validate() -> Any:
    if find_spec("kubernetes_validate") is None:
        assert not os.environ.get("SALVER_CI"), "kubernetes-validate is not installed"
        pytest.skip("kubernetes-validate is not installed")
    return import_module("kubernetes_validate")


def _ours(manifest: Manifest, name: str, version: str) -> list[str]:
    schema = yaml.safe_load((_SCHEMAS / f"{name}.yaml").read_text())
    validator = Draft202012Validator(_linked(schema), registry=_registry(version))
    return [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
        for error in validator.iter_errors(manifest)
    ]


@cache
def _registry(version: str) -> Any:
    utils = _kubernetes_validate().utils
    name = f"kubernetes-json-schema/v{version}.0-local-strict/_definitions.json"
    definitions = Resource.from_contents(utils.schema_contents(name, version))
    return definitions @ Registry()


def _linked(schema: Any) -> Any:
    """The same, with references to Kubernetes' definitions by their addresses."""
    if isinstance(schema, Mapping):
        return {key: _link(key, value) for key, value in schema.items()}
    if isinstance(schema, Sequence) and not isinstance(schema, str):
        return [_linked(value) for value in schema]
    return schema


def _link(key: str, value: Any) -> Any:
    if key == "$ref" and isinstance(value, str) and value.startswith("kubernetes:"):
        name = value.removeprefix("kubernetes:")
        return f"https://kubernetes.io/api/_definitions.json#/$defs/{name}"
    return _linked(value)


def is_patch(path: Path) -> bool:
    """Whether a file holds a part of a manifest that stands elsewhere."""
    return str(path.relative_to(KUBERNETES)) in _PATCHES


def pod_specs(path: Path) -> Iterator[tuple[str, Any]]:
    """The specs of pods in a file, each with whose it is."""
    for each in yaml.safe_load_all(path.read_text()):
        kind, name = each["kind"], each.get("metadata", {}).get("name", "")
        match kind:
            case "Deployment" | "StatefulSet" | "Job":
                yield f"{kind} {name}", each["spec"]["template"]["spec"]
            case "ServingRuntime" | "ClusterServingRuntime":
                yield f"{kind} {name}", each["spec"]
            case "RayCluster":
                spec = each["spec"]
                groups = [spec["headGroupSpec"], *spec.get("workerGroupSpecs", ())]
                for group in groups:
                    yield f"{kind} {name}", group["template"]["spec"]
            case _:
                pass
