from pathlib import Path

import pytest

from salver.config.remote import RemoteStore, read_remote_config, store_for
from salver.errors import InvalidArgument, NotFound

YAML = """
schema: 1
stores:
  - prefix: s3://models/
    endpoint: http://minio:9000
    region: eu-west-1
    credential_file: keys.ini
    ca_file: /etc/ca.pem
  - {prefix: "s3://models/public", anonymous: true, proxy: "http://proxy:3128"}
"""
TEXT = """
stores { prefix: "s3://models" endpoint: "http://minio:9000" region: "eu-west-1"
         credential_file: "keys.ini" ca_file: "/etc/ca.pem" }
stores { prefix: "s3://models/public" anonymous: true proxy: "http://proxy:3128" }
"""


@pytest.mark.parametrize(("name", "content"), [("remote.yaml", YAML), ("remote.config", TEXT)])
def test_stores_are_read_with_paths_beside_the_file(
    name: str, content: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    assert read_remote_config(str(tmp_path / name)) == (
        RemoteStore(
            prefix="s3://models",
            endpoint="http://minio:9000",
            region="eu-west-1",
            credential_file=str(tmp_path / "keys.ini"),
            ca_file="/etc/ca.pem",
        ),
        RemoteStore(prefix="s3://models/public", anonymous=True, proxy="http://proxy:3128"),
    )


def test_the_longest_prefix_of_whole_names_counts() -> None:
    wide, narrow = RemoteStore(prefix="s3://models"), RemoteStore(prefix="s3://models/a")
    assert store_for((wide, narrow), "s3://models/a/m") is narrow
    assert store_for((narrow, wide), "s3://models/ab") is wide
    assert store_for((wide, narrow), "s3://other") == RemoteStore()


@pytest.mark.parametrize(
    ("prefix", "uri"),
    [
        ("s3://models/a", "S3://models/a/m"),
        ("S3://models//a/", "s3://models/a/m"),
        ("s3://models/a", "s3://models//a/m"),
        ("abfs://models/a", "abfss://models/a/m"),
        ("https://host/a", "HTTPS://Host:443/a/1.tar.gz"),
        ("https://host/a", "https://host./%61/1.tar.gz"),
        ("hf://team/repo", "HF://team/repo"),
        ("hf://team/repo", "hf:///team/repo/x"),
    ],
)
def test_a_prefix_counts_however_a_base_path_spells_it(prefix: str, uri: str) -> None:
    scheme, _, rest = prefix.partition("://")
    wide = RemoteStore(prefix=f"{scheme}://{rest.partition('/')[0]}", region="wide")
    narrow = RemoteStore(prefix=prefix, region="narrow")
    assert store_for((wide, narrow), uri).region == "narrow"


@pytest.mark.parametrize(
    "uri", ["s3://Models/a/m", "s3://models/A/m", "s3://models/%61/m", "https://models/a/m"]
)
def test_what_may_be_another_place_is_not_reached_as_a_prefix_says(uri: str) -> None:
    assert store_for((RemoteStore(prefix="s3://models/a"),), uri) == RemoteStore()


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ("stores: [{prefix: /models}]", "a prefix is a URI"),
        ("stores: [{prefix: 's3://a', endpoint: minio}]", "the endpoint of s3://a is no URL"),
        ("stores: [{prefix: 's3://a'}, {prefix: 's3://a/'}]", "two stores for the prefix s3://a"),
        ("stores: [{prefix: 's3://a'}, {prefix: 'S3://a'}]", "two stores for the prefix s3://a"),
        ("stores: [{prefix: 's3://a', secret: x}]", "remote.yaml"),
        ("schema: 2", "remote.yaml"),
    ],
)
def test_a_wrong_file_is_refused(content: str, wrong: str, tmp_path: Path) -> None:
    file = tmp_path / "remote.yaml"
    file.write_text(content)
    with pytest.raises(InvalidArgument, match=wrong):
        read_remote_config(str(file))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_remote_config(str(tmp_path / "none.yaml"))


def test_a_proxy_that_may_hold_a_password_is_shown_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "remote.yaml"
    path.write_text("stores: [{prefix: 's3://a', proxy: 'user:hidden@proxy:3128'}]")
    with pytest.raises(InvalidArgument, match="the proxy of s3://a is no URL") as caught:
        read_remote_config(str(path))
    assert "hidden" not in f"{caught.value.message} {caught.value.hint}"
    assert "hidden" not in repr(RemoteStore(proxy="http://user:hidden@proxy:3128"))
