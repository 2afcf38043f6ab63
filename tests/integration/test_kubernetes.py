"""The manifests of `deploy/kubernetes`: what they say, and that what they start serves."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from salver.cli.serve import SERVE_DEFAULTS
from salver.cluster.spec import read_cluster_spec
from salver.config.flags import parse
from salver.server.notifying import stop_seconds
from tests.integration import manifests as of
from tests.integration.kubelet import Kubelet, Pod
from tests.integration.manifests import KUBERNETES
from tests.integration.serving import eventually, run_command
from tests.integration.test_object_stores import put_whole
from tests.integration.test_prometheus import Prometheus
from tests.remote_stores import moto

VERSIONS = ("1.30", "1.37")
FILES = [pytest.param(path, id=str(path.relative_to(KUBERNETES))) for path in of.files()]
POD_SPECS = [
    pytest.param(spec, id=f"{path.relative_to(KUBERNETES)} {whose}")
    for path in of.files()
    for whose, spec in of.pod_specs(path)
]
BASE, STATEFUL = "base/deployment.yaml", "statefulset/statefulset.yaml"


def config_data(path: str) -> dict[str, dict[str, str]]:
    """The only ConfigMap of a file, by its name."""
    found = of.one(path, "ConfigMap")
    return {found["metadata"]["name"]: found["data"]}


# -- what they say -------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", FILES)
def test_every_manifest_is_valid(path: Path, version: str) -> None:
    if not of.is_patch(path):
        for manifest in yaml.safe_load_all(path.read_text()):
            assert of.problems(manifest, version) == []


@pytest.mark.parametrize(
    ("path", "kind", "change"),
    [
        (BASE, "Deployment", {"replcas": 2}),
        ("base/servicemonitor.yaml", "ServiceMonitor", {"endpoint": []}),
        ("kserve/clusterservingruntimes.yaml", "ClusterServingRuntime", {"protocols": []}),
        ("base/kustomization.yaml", "Kustomization", {"resources": []}),
    ],
)
def test_a_slip_of_the_pen_would_be_found(path: str, kind: str, change: dict[str, Any]) -> None:
    manifest = next(each for each in of.manifests(path) if each["kind"] == kind)
    changed = {**manifest, **change} if kind == "Kustomization" else dict(manifest)
    if kind != "Kustomization":
        changed["spec"] = {**manifest["spec"], **change}
    assert len(of.problems(changed, VERSIONS[-1])) == 1


@pytest.mark.parametrize("spec", POD_SPECS)
def test_every_pod_runs_as_nobody_who_may_write_nothing(spec: Any) -> None:
    for container in spec["containers"]:
        said = {**spec.get("securityContext", {}), **container["securityContext"]}
        assert said["runAsNonRoot"]
        assert said["runAsUser"] == 10001
        assert said["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not said["allowPrivilegeEscalation"]
        assert said["readOnlyRootFilesystem"]
        assert said["capabilities"] == {"drop": ["ALL"]}
        volumes = {each["name"]: each for each in spec.get("volumes", ())}
        writable = [m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")]
        assert "/tmp" in writable  # where Python and the libraries put files
        for mount in container["volumeMounts"]:
            volume = volumes.get(mount["name"], {})
            if "configMap" in volume or volume.get("persistentVolumeClaim", {}).get("readOnly"):
                assert mount["readOnly"]


@pytest.mark.parametrize("path", [BASE, STATEFUL])
def test_the_grace_period_is_long_enough_for_the_drain(path: str) -> None:
    (spec,) = [spec for _, spec in of.pod_specs(KUBERNETES / path)]
    container = of.container_of(spec)
    options = parse(container["args"], SERVE_DEFAULTS).options
    hook = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert hook + stop_seconds(options) <= spec["terminationGracePeriodSeconds"]
    assert (
        options.drain_delay_seconds >= 3 * spec["containers"][0]["readinessProbe"]["periodSeconds"]
    )


@pytest.mark.parametrize("spec", POD_SPECS)
def test_every_flag_is_one_and_no_variable_is_taken_for_one(spec: Any) -> None:
    for container in spec["containers"]:
        program = container.get("command", [""])[-1]  # KubeRay makes its own
        if program not in ("serve", "salver", "tensorflow_model_server"):
            continue
        arguments = [word for word in container["args"] if word.startswith("-")]
        parsed = parse(arguments, SERVE_DEFAULTS)
        assert parsed.leftovers == ()
        assert parsed.bad == ()
        assert not [each for each in container.get("env", ()) if each["name"] == "SALVER_PORT"]


def test_what_selects_pods_selects_those_of_the_template() -> None:
    for path in (BASE, STATEFUL):
        (workload,) = [m for m in of.manifests(path) if m["kind"] in ("Deployment", "StatefulSet")]
        labels = workload["spec"]["template"]["metadata"]["labels"].items()
        selectors = [workload["spec"]["selector"]["matchLabels"]]
        selectors += [each["spec"]["selector"] for each in of.manifests("base/service.yaml")]
        budget = of.one("base/poddisruptionbudget.yaml", "PodDisruptionBudget")
        selectors.append(budget["spec"]["selector"]["matchLabels"])
        policy = of.one("base/networkpolicy.yaml", "NetworkPolicy")
        selectors.append(policy["spec"]["podSelector"]["matchLabels"])
        for constraint in workload["spec"]["template"]["spec"]["topologySpreadConstraints"]:
            selectors.append(constraint["labelSelector"]["matchLabels"])
        for selector in selectors:
            assert selector.items() <= labels
    monitor = of.one("base/servicemonitor.yaml", "ServiceMonitor")["spec"]["selector"][
        "matchLabels"
    ]
    services = of.manifests("base/service.yaml")
    chosen = [
        s["metadata"]["name"]
        for s in services
        if monitor.items() <= s["metadata"]["labels"].items()
    ]
    assert chosen == ["salver"], "a pod behind two services is scraped twice"


def test_ports_are_called_the_same_everywhere() -> None:
    names = {
        each["name"]
        for each in of.container_of(of.one(BASE, "Deployment")["spec"]["template"]["spec"])["ports"]
    }
    for service in of.manifests("base/service.yaml"):
        assert {each["targetPort"] for each in service["spec"]["ports"]} == names
    policy = of.one("base/networkpolicy.yaml", "NetworkPolicy")["spec"]["ingress"]
    assert {port["port"] for rule in policy for port in rule["ports"]} == names


@pytest.mark.parametrize("directory", ["namespace", "base", "statefulset", "kuberay"])
def test_a_kustomization_names_files_and_targets_that_are_there(directory: str) -> None:
    made = of.one(f"{directory}/kustomization.yaml", "Kustomization")
    root = KUBERNETES / directory
    there = {
        (each["kind"], each["metadata"]["name"])
        for path in of.files()
        for each in yaml.safe_load_all(path.read_text())
        if "metadata" in each
    }
    for resource in made["resources"]:
        assert (root / resource).exists()
    for patch in made.get("patches", ()):
        if "path" in patch:
            assert (root / patch["path"]).exists()
            continue
        about = patch.get("target") or yaml.safe_load(patch["patch"])
        name = about.get("name") or about["metadata"]["name"]
        assert (about["kind"], name) in there


def test_the_two_workloads_differ_in_where_models_come_from_alone() -> None:
    deployment = of.one(BASE, "Deployment")["spec"]["template"]["spec"]
    stateful = of.one(STATEFUL, "StatefulSet")["spec"]["template"]["spec"]
    one, other = of.container_of(deployment), of.container_of(stateful)
    differing = set(one["args"]) ^ set(other["args"])
    assert {word.partition("=")[0] for word in differing} == {
        "--model_cache", "--model_cache_max_bytes",
    }  # fmt: skip
    assert {k for k in one | other if one.get(k) != other.get(k)} == {
        "args", "envFrom", "volumeMounts",
    }  # fmt: skip
    assert {k for k in deployment if deployment[k] != stateful[k]} == {"containers", "volumes"}


@pytest.mark.parametrize("path", ["base/configmap.yaml", "statefulset/configmap.yaml"])
def test_the_models_file_is_one(path: str, tmp_path: Path) -> None:
    ((_, data),) = config_data(path).items()
    (tmp_path / "models.yaml").write_text(data["models.yaml"].replace("/models/", f"{tmp_path}/"))
    (tmp_path / "digits").mkdir()
    done = run_command("salver", "config", "check", str(tmp_path / "models.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_file_of_the_cluster_is_one(tmp_path: Path) -> None:
    for name, text in config_data("kuberay/configmap.yaml")["salver-cluster"].items():
        (tmp_path / name).write_text(text)
    spec = read_cluster_spec(str(tmp_path / "cluster.yaml"))
    assert [model.name for model in spec.models] == ["digits"]
    containers = of.one("kuberay/raycluster.yaml", "RayCluster")["spec"]["workerGroupSpecs"]
    ports = {
        each["name"]: str(each["containerPort"])
        for each in of.container_of(containers[0]["template"]["spec"])["ports"]
    }
    assert (ports["rest"], ports["grpc"]) == (spec.flags["rest_api_port"], spec.flags["port"])


# -- what they start -----------------------------------------------------------------------------


@pytest.fixture
def shelf(model_path: Callable[[str], Path], tmp_path: Path) -> Path:
    """A volume with the model that the ConfigMap names."""
    shutil.copytree(model_path("onnx_half_plus_two"), tmp_path / "digits")
    return tmp_path


@pytest.fixture
def run_pod() -> Iterator[Callable[..., Kubelet]]:
    """Starts pods, and ends them all."""
    with running_pods() as run:
        yield run


@pytest.fixture(scope="module")
def deployed(
    model_path: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kubelet]:
    """A pod of the Deployment that is ready, and that no test may change."""
    shelf = tmp_path_factory.mktemp("shelf")
    shutil.copytree(model_path("onnx_half_plus_two"), shelf / "digits")
    spec = of.one(BASE, "Deployment")["spec"]["template"]["spec"]
    with running_pods() as run:
        made = run(spec, configs=config_data("base/configmap.yaml"), claims={"models": shelf})
        made.wait_until_ready()
        yield made


@contextmanager
def running_pods() -> Iterator[Callable[..., Kubelet]]:
    """What starts pods, all of which end with the block."""
    started: list[Kubelet] = []

    def run(spec: Any, **more: Any) -> Kubelet:
        started.append(
            Kubelet(
                Pod(spec, **more, more=["--drain_delay_seconds=0.2"]),
                lambda _pod, _ready: None,
                pace=0.05,
            )
        )
        return started[-1]

    yield run
    for kubelet in started:
        kubelet.stop_probing()
        kubelet.pod.close()


def test_the_deployment_serves_what_its_configmap_names(deployed: Kubelet) -> None:
    server = deployed.pod.server
    for host in ("salver:8501", "salver.models", "salver.models.svc.cluster.local"):
        answer = server.post(
            "/v1/models/digits:predict", {"instances": [2.0]}, headers={"Host": host}
        )
        assert answer.json() == {"predictions": [3.0]}, host
    assert server.get("/", headers={"Host": "salver"}).status_code == 404
    assert server.get("/metrics").ok
    assert not deployed.has_failed


def test_it_needs_no_right_to_write_but_to_its_volumes(
    shelf: Path, run_pod: Callable[..., Kubelet]
) -> None:
    """As user 10001, with a root file system that is read-only, as the manifest says."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mounts may be made here")
    with tempfile.TemporaryDirectory(prefix="volume-") as volume:  # which others may read
        Path(volume).chmod(0o755)
        shutil.copytree(shelf / "digits", Path(volume) / "digits")
        spec = of.one(BASE, "Deployment")["spec"]["template"]["spec"]
        config = config_data("base/configmap.yaml")
        claims = {"models": Path(volume)}
        made = run_pod(spec, configs=config, claims=claims, is_confined=True)
        made.wait_until_ready()
        server = made.pod.server
        assert server.predict("digits", [2.0]).ok
        process = Path(f"/proc/{server.process.pid}")
        assert "10001" in (process / "status").read_text().partition("Uid:")[2].split()[0]
        root = next(x for x in (process / "mounts").read_text().splitlines() if x.split()[1] == "/")
        assert root.split()[3].startswith("ro")
        assert made.delete()
        assert json.loads(server.err.text().splitlines()[-1])


def test_what_administers_is_in_the_pod_alone(deployed: Kubelet) -> None:
    server = deployed.pod.server
    assert server.get("/admin/v1/config").status_code == 403
    grpc_port = f"http://127.0.0.1:{server.grpc_port}"
    assert server.session.get(f"{grpc_port}/admin/v1/config", timeout=60).status_code == 403
    socket = deployed.pod.here("unix:/run/salver/admin.sock")
    shown = run_command("salver", "admin", "show", "digits", f"--server={socket}")
    assert "version 1  AVAILABLE" in shown.stdout, shown.stderr


def test_a_configmap_that_changes_is_served_and_takes_no_pod_out_of_service(
    shelf: Path, run_pod: Callable[..., Kubelet]
) -> None:
    """While a model is added that takes its time, and when one is that never comes."""
    ((name, data),) = config_data("base/configmap.yaml").items()
    spec = of.one(BASE, "Deployment")["spec"]["template"]["spec"]
    made = run_pod(spec, configs={name: data}, claims={"models": shelf})
    made.wait_until_ready()
    server = made.pod.server
    text = data["models.yaml"] + "  - {name: later, base_path: /models/later}\n"
    made.pod.update(name, {"models.yaml": text})
    server.err.wait_for("later not found")
    assert server.get("/healthz/ready").status_code == 200
    shutil.copytree(shelf / "digits", shelf / "later")
    server.wait_until("later", 1)
    assert server.predict("later", [2.0]).ok
    made.pod.update(name, data)
    eventually("it is gone again", lambda: server.states("later").get(1) in (None, "END"))
    made.pod.update(name, {"models.yaml": "models: [{nme: digits}]\n"})
    server.err.wait_for("nme")
    assert server.predict("digits", [2.0]).ok
    assert made.is_ready
    assert not made.has_failed


def test_a_pod_of_the_statefulset_starts_from_its_cache_while_the_store_is_away(
    model_path: Callable[[str], Path], tmp_path: Path, run_pod: Callable[..., Kubelet]
) -> None:
    spec = of.one(STATEFUL, "StatefulSet")["spec"]["template"]["spec"]
    config = json.loads(
        json.dumps(config_data("statefulset/configmap.yaml")).replace("my-bucket/", "")
    )
    with moto() as store:
        put_whole(store, model_path("onnx_half_plus_two") / "1", "digits/1")
        more = {
            "configs": config,
            "claims": {"cache": tmp_path / "cache"},
            "environment": store.environment,
        }
        first = run_pod(spec, **more)
        first.wait_until_ready()
        assert first.pod.server.predict("digits", [2.0]).ok
        assert first.delete()
    second = run_pod(spec, **more)
    second.wait_until_ready()
    assert second.pod.server.predict("digits", [2.0]).json() == {"predictions": [3.0]}


def test_the_query_of_the_autoscaler_counts_what_each_pod_works_on(
    deployed: Kubelet, tmp_path: Path
) -> None:
    """By Prometheus itself, with the labels that a ServiceMonitor brings."""
    (rule,) = yaml.safe_load((KUBERNETES / "base/prometheus-adapter.yaml").read_text())["rules"][
        "custom"
    ]
    metrics = of.one("base/horizontalpodautoscaler.yaml", "HorizontalPodAutoscaler")["spec"][
        "metrics"
    ]
    asked = [each["pods"]["metric"]["name"] for each in metrics if each["type"] == "Pods"]
    assert asked == [rule["name"]["as"]]
    series = rule["seriesQuery"].partition("{")[0]
    query = (
        rule["metricsQuery"]
        .replace("<<.Series>>", series)
        .replace("<<.LabelMatchers>>", 'namespace="models",pod=~"salver-1|salver-2"')
        .replace("<<.GroupBy>>", "pod")
    )
    assert "<<" not in query
    deployed.pod.server.predict("digits", [2.0])
    monitor = of.one("base/servicemonitor.yaml", "ServiceMonitor")["spec"]["endpoints"][0]
    target = {
        "targets": [f"127.0.0.1:{deployed.pod.server.port}"],
        "labels": {"namespace": "models", "pod": "salver-1"},
    }
    watching = Prometheus(tmp_path, target, path=monitor["path"])
    try:
        found = eventually("there is a rate", lambda: watching.query(query))
        assert [each["metric"] for each in found] == [{"pod": "salver-1"}]
        assert watching.query(rule["seriesQuery"])
    finally:
        watching.close()
