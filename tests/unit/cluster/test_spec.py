from pathlib import Path

import pytest

from salver.cluster.spec import NodesSpec, parse_cluster_spec, read_cluster_spec
from salver.config.model_options import Replicas
from salver.config.options import Flag, FlagState, FlagType
from salver.errors import InvalidArgument, NotFound, ServingError

_MODELS = """
models:
- {name: digits, base_path: models/digits, salver: {replicas: {min: 2, max: 5, pinned: true}}}
- {name: fraud, base_path: s3://bucket/fraud}
"""
_WHOLE = """
schema: 1
name: shop
ray: {address: 10.0.0.1:6379}
state: {journal: state/journal.json}
nodes: {cpus: 4, memory_bytes: 8000000000, zone_label: zone, min: 2, max: 10, idle_s: 600}
server: {flags: {rest_api_port: 8501, lazy_load_models: true}}
model_config_file: models.yaml
peer_token_file: token
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "models.yaml").write_text(_MODELS)
    return tmp_path


def written(place: Path, text: str, name: str = "cluster.yaml") -> str:
    (place / name).write_text(text)
    return str(place / name)


def test_reads_all_that_the_file_says(place: Path) -> None:
    spec = read_cluster_spec(written(place, _WHOLE))
    assert spec.name == "shop"
    assert spec.ray_address == "10.0.0.1:6379"
    assert spec.journal == str(place / "state/journal.json")
    assert spec.nodes == NodesSpec(4.0, 8_000_000_000, "zone", 2, 10, 600.0)
    assert spec.flags == {"rest_api_port": "8501", "lazy_load_models": "true"}
    assert spec.peer_token_file == str(place / "token")
    assert [model.name for model in spec.models] == ["digits", "fraud"]
    assert spec.models[0].base_path == str(place / "models/digits")
    assert spec.models[0].options.replicas == Replicas(2, 5, is_pinned=True)


def test_needs_no_more_than_models(place: Path) -> None:
    spec = read_cluster_spec(written(place, '{"model_config_file": "models.yaml"}', "c.json"))
    assert (spec.name, spec.ray_address, spec.journal) == ("salver", "auto", "")
    assert spec.nodes == NodesSpec()
    assert spec == read_cluster_spec(
        written(place, '{"model_config_file": "models.yaml"}', "c.json")
    )


def test_reads_flags_of_backends_where_somebody_knows_them(place: Path) -> None:
    text = "model_config_file: models.yaml\nserver: {flags: {my_option: 3}}\n"

    def find(name: str) -> Flag | None:
        if name != "my_option":
            return None
        return Flag(
            name=name,
            type=FlagType.INT64,
            default=0,
            help="",
            default_text="",
            state=FlagState.WORKS,
            note="",
        )

    assert read_cluster_spec(written(place, text), find).flags == {"my_option": "3"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("# nothing", "1:1: the document is empty"),
        ("schema: 2", "1:9: schema must be 1"),
        ("names: x", "1:1: "),
        (
            "server: {flags: {rest_api_prt: 1}}",
            "1:18: --rest_api_prt is no flag; is it --rest_api_port?",
        ),
        ("server: {flags: {model_name: x}}", "1:18: the cluster sets --model_name by itself"),
        ("server: {flags: {admin_port: 9}}", "1:18: agents administer servers over gRPC's socket"),
        ("server: {flags: {enable_port_sharing: false}}", "1:18: agents administer servers over"),
        ("server: {flags: {rest_api_port: x}}", "1:33: Couldn't interpret value x for flag"),
        ("server: {flags: [1]}", "1:17: flags must be a mapping"),
        ("nodes: {min: x}", "1:14: min must be a whole number"),
    ],
)
def test_says_where_the_file_is_wrong(place: Path, text: str, why: str) -> None:
    with pytest.raises(InvalidArgument) as found:
        read_cluster_spec(written(place, text))
    assert why in f"{found.value.hint}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name: x", "model_config_file is missing"),
        ("name: a b\nmodel_config_file: models.yaml", "name has 1 to 63"),
        ("nodes: {cpus: -1}\nmodel_config_file: models.yaml", "nodes.cpus must be from 0 up"),
        ("nodes: {cpus: .nan}\nmodel_config_file: models.yaml", "."),
        ("nodes: {min: 3, max: 2}\nmodel_config_file: models.yaml", "nodes.max is 2, less than"),
    ],
)
def test_says_what_makes_no_sense(place: Path, text: str, why: str) -> None:
    with pytest.raises(InvalidArgument) as found:
        read_cluster_spec(written(place, text))
    assert why in f"{found.value} {found.value.hint}"


def test_says_which_file_is_missing(place: Path) -> None:
    with pytest.raises(NotFound, match=r"none\.yaml"):
        read_cluster_spec(written(place, "model_config_file: none.yaml"))


@pytest.mark.parametrize(
    ("replicas", "why"),
    [("{min: -1}", "must be from 0 up"), ("{min: 3, max: 2}", "max is 2, less than min")],
)
def test_refuses_replicas_that_cannot_be(place: Path, replicas: str, why: str) -> None:
    models = f"models: [{{name: m, base_path: /m, salver: {{replicas: {replicas}}}}}]"
    (place / "models.yaml").write_text(models)
    with pytest.raises(ServingError, match=why):
        parse_cluster_spec(b"model_config_file: models.yaml", str(place / "cluster.yaml"))


def test_refuses_models_that_one_server_would_refuse(place: Path) -> None:
    (place / "models.yaml").write_text(
        "models: [{name: m, base_path: /m}, {name: m, base_path: /n}]"
    )
    with pytest.raises(InvalidArgument, match="multiple times"):
        parse_cluster_spec(b"model_config_file: models.yaml", str(place / "cluster.yaml"))
