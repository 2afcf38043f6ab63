"""The rules and the dashboard of `deploy`, against Prometheus itself."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.integration.serving import PATIENCE_S, Server, eventually, free_port, start

_ROOT = Path(__file__).resolve().parents[2]
_DEPLOY = _ROOT / "deploy"
_RULES = _DEPLOY / "prometheus" / "salver.rules.yaml"
_TESTS = Path(__file__).parent / "prometheus" / "salver.test.yaml"


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        assert not os.environ.get("SALVER_CI"), f"{name} is not installed"
        pytest.skip(f"{name} is not installed; Debian's package `prometheus` has it")
    return found


def _promtool(*arguments: object, directory: Path = _ROOT) -> str:
    command = [_program("promtool"), *map(str, arguments)]
    done = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_and_the_configurations_are_such_as_prometheus_takes() -> None:
    assert "SUCCESS" in _promtool("check", "rules", _RULES)
    assert "SUCCESS" in _promtool("check", "config", _DEPLOY / "prometheus" / "prometheus.yaml")


def test_the_configuration_of_the_image_is_such_too(tmp_path: Path) -> None:
    config = (_ROOT / "docker" / "prometheus.yml").read_text()
    (tmp_path / "prometheus.yml").write_text(config.replace("/etc/prometheus/", ""))
    shutil.copy(_RULES, tmp_path)
    assert "1 rule files found" in _promtool("check", "config", tmp_path / "prometheus.yml")


def test_the_rules_say_what_they_should_of_made_up_servers(tmp_path: Path) -> None:
    for file in (_RULES, _TESTS):
        shutil.copy(file, tmp_path)
    _promtool("test", "rules", _TESTS.name, directory=tmp_path)


class Prometheus:
    """One that watches a server."""

    def __init__(
        self, directory: Path, target: "str | dict[str, Any]", *, path: str | None = None
    ) -> None:
        shutil.copy(_RULES, directory)
        config = yaml.safe_load((_DEPLOY / "prometheus" / "prometheus.yaml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        job = config["scrape_configs"][0]
        job["static_configs"] = [{"targets": [target]} if isinstance(target, str) else target]
        if path is not None:
            job["metrics_path"] = path
        (directory / "prometheus.yaml").write_text(yaml.safe_dump(config))
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/api/v1"
        self.process = subprocess.Popen(
            [
                _program("prometheus"),
                f"--config.file={directory / 'prometheus.yaml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=error",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def get(self, path: str, **parameters: str) -> Any:
        try:
            answer = requests.get(f"{self.url}/{path}", params=parameters, timeout=PATIENCE_S)
        except requests.ConnectionError:
            return {}
        assert answer.status_code in (200, 503), answer.text
        return answer.json()["data"] if answer.ok else {}

    def query(self, text: str) -> list[Any]:
        found: list[Any] = self.get("query", query=text).get("result", [])
        return found

    def rules(self) -> list[Any]:
        return [rule for group in self.get("rules").get("groups", ()) for rule in group["rules"]]

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE_S)


def _is_available(server: Server) -> bool:
    try:
        return server.states("m") == {123: "AVAILABLE"}
    except requests.ConnectionError:
        return False


@pytest.fixture(scope="module")
def prometheus(
    model_path: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """Prometheus, that has seen a server answer, refuse, and miss a model."""
    _program("prometheus")
    directory = tmp_path_factory.mktemp("prometheus")
    config = directory / "models.yaml"
    config.write_text(
        f"models:\n- {{name: m, base_path: {model_path('half_plus_two')}}}\n"
        f"- {{name: gone, base_path: {directory}}}\n"
    )
    server = start(f"--model_config_file={config}", "--enable_batching", command="salver")
    made = None
    try:
        eventually("the model is there", lambda: _is_available(server))
        made = Prometheus(directory, f"127.0.0.1:{server.port}")
        eventually("it is scraped", lambda: made.query('up{job="salver"} == 1'))
        for number in (1, 2):
            assert server.predict("m", [1.0]).ok
            assert not server.predict("m", "x").ok
            count = f'salver_request_seconds_count{{model_name="m"}} == {number}'
            eventually("the next scrape", partial(made.query, count))
        yield made
    finally:
        if made is not None:
            made.close()
        server.dispose()


def test_every_rule_is_evaluated(prometheus: Prometheus) -> None:
    def are_evaluated() -> bool:
        rules = prometheus.rules()
        return bool(rules) and all(rule["health"] != "unknown" for rule in rules)

    eventually("all rules are evaluated", are_evaluated)
    assert [rule for rule in prometheus.rules() if rule["health"] != "ok"] == []


def test_every_recorded_series_has_samples(prometheus: Prometheus) -> None:
    names = [rule["name"] for rule in prometheus.rules() if rule["type"] == "recording"]
    assert len(names) > 4
    for name in names:
        eventually(f"{name} is recorded", partial(prometheus.query, name))


def test_a_model_without_a_version_is_about_to_raise_an_alarm(prometheus: Prometheus) -> None:
    def pending() -> list[str]:
        return [
            alert["labels"]["model_name"]
            for alert in prometheus.get("alerts").get("alerts", ())
            if alert["labels"]["alertname"] == "SalverModelUnavailable"
        ]

    assert eventually("an alert", pending) == ["gone"]


def test_every_query_of_the_dashboard_is_answered(prometheus: Prometheus) -> None:
    dashboard = json.loads((_DEPLOY / "grafana" / "salver.json").read_text())
    queries = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", ())]
    variables = {"$instance": ".*", "$model": ".*", "$__rate_interval": "1m"}
    unanswered = []
    for query in queries:
        text = query
        for name, value in variables.items():
            text = text.replace(name, value)
        assert not re.search(r"\$\w", text), query
        if not prometheus.query(text):
            unanswered.append(query)
    # What this server has not done: nothing was padded, and no log has lost a record.
    assert [q for q in unanswered if "padding_size" not in q and "dropped_log" not in q] == []
