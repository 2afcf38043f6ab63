import pytest

from salver.cli.cluster import cluster_command, make_parser
from salver.errors import ServingError


def test_files_are_cluster_yaml_unless_they_are_named() -> None:
    parser = make_parser()
    assert parser.parse_args(["up"]).file == "cluster.yaml"
    assert parser.parse_args(["status", "other.yaml", "--json"]).file == "other.yaml"
    assert parser.parse_args(["why", "digits", "--cluster=other.yaml"]).file == "other.yaml"


@pytest.mark.parametrize("arguments", [[], ["fly"], ["drain"], ["up", "--quickly"]])
def test_what_makes_no_sense_is_a_usage_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cluster_command(arguments) == 2
    assert "usage: salver cluster" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_told_of(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(str(tmp_path))
    with pytest.raises(ServingError, match=r"cluster\.yaml"):
        cluster_command(["status"])
