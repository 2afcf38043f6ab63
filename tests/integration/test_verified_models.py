"""Versions whose files are compared with their sums before they are loaded, and whose places."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from salver.instruments.manifest import MANIFEST, SIGNATURE, make_manifest
from salver.instruments.signatures import sign
from tests.integration.grpc_clients.plain import connected, message
from tests.integration.serving import Server, eventually
from tests.unit.instruments.test_signatures import keys

LaunchServer = Callable[..., Server]
RELOAD = "HandleReloadConfigRequest"


@pytest.fixture
def base(tmp_path: Path, model_path: Callable[[str], Path]) -> Path:
    """A model with a version that has sums."""
    base = tmp_path / "models" / "m"
    shutil.copytree(model_path("half_plus_two") / "00000123", base / "1")
    (base / "1" / MANIFEST).write_bytes(make_manifest(base / "1"))
    return base


def put(base: Path, version: int, *, damage: bool = False, key: str = "") -> None:
    staged = base.parent / "staged"
    shutil.copytree(base / "1", staged)
    (staged / "assets.extra").mkdir(exist_ok=True)
    (staged / "assets.extra" / f"of {version}").touch()
    (staged / MANIFEST).write_bytes(make_manifest(staged))
    if key:
        (staged / SIGNATURE).write_bytes(sign((staged / MANIFEST).read_bytes(), key))
    if damage:
        (staged / "assets.extra" / f"of {version}").write_text("damaged")
    staged.rename(base / str(version))


def listens(server: Server) -> bool:
    try:
        return server.get("/healthz/live").status_code == 200
    except OSError:
        return False


def answers(server: Server, version: int) -> bool:
    if not listens(server):
        return False
    answer = server.predict("m", [1.0])
    return answer.headers.get("salver-model-version") == str(version)


def error(server: Server, version: int) -> str:
    if not listens(server):
        return ""
    listed = server.get("/v1/models/m").json().get("model_version_status", ())
    status = {int(each["version"]): each for each in listed}
    return str(status[version]["status"]["error_message"]) if version in status else ""


@pytest.mark.parametrize("flags", [(), ("--workers=2",), ("--lazy_load_models",)])
def test_a_damaged_version_does_not_take_the_place_of_a_whole_one(
    base: Path, launch_server: LaunchServer, flags: tuple[str, ...]
) -> None:
    server = launch_server(f"m={base}", *flags, command="salver")
    eventually("version 1 answers", lambda: answers(server, 1))
    put(base, 2, damage=True)
    text = "assets.extra/of 2 is not what SHA256SUMS lists"
    eventually("it is refused", lambda: text in server.get("/v1/models/m").text)
    assert answers(server, 1)
    put(base, 3)
    eventually("version 3 answers", lambda: answers(server, 3))


@pytest.mark.parametrize("workers", [1, 2])
def test_where_a_signature_is_demanded_a_signed_version_alone_is_served_from_a_private_copy(
    base: Path, launch_server: LaunchServer, tmp_path: Path, workers: int
) -> None:
    key, public = keys(tmp_path / "keys")
    server = launch_server(
        f"m={base}",
        f"--workers={workers}",
        f"--manifest_public_key_file={public}",
        f"--model_cache={tmp_path / 'cache'}",
        command="salver",
    )
    eventually("it is refused", lambda: "has no SHA256SUMS.sig" in error(server, 1))
    put(base, 2, key=key)
    eventually("version 2 answers", lambda: answers(server, 2))
    assert len(list((tmp_path / "cache").glob("*.entry"))) == 1
    put(base, 3, key=keys(tmp_path / "others")[0])
    eventually("it is refused", lambda: "was not made by a key of" in error(server, 3))
    assert answers(server, 2)
    assert server.stop() == 0


def test_a_key_that_cannot_be_read_ends_the_start(
    base: Path, launch_server: LaunchServer, tmp_path: Path
) -> None:
    (tmp_path / "none.pem").touch()
    server = launch_server(
        f"m={base}", f"--manifest_public_key_file={tmp_path / 'none.pem'}", command="salver"
    )
    server.err.wait_for("none.pem has no public key")
    assert server.wait() != 0


def reload(server: Server, base_path: str) -> Any:
    request = message("ReloadConfigRequest")
    request.config.model_config_list.config.add(
        name="m", base_path=base_path, model_platform="tensorflow"
    )
    with connected(server.grpc_target) as client:
        return client.refusal(RELOAD, request, timeout=60)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_reload_names_no_place_beside_those_of_the_start(
    base: Path, launch_server: LaunchServer, tmp_path: Path, workers: int
) -> None:
    server = launch_server(f"m={base}", f"--workers={workers}", command="salver")
    eventually("it answers", lambda: answers(server, 1))
    shutil.copytree(base, tmp_path / "secret")
    for place in (str(tmp_path / "secret"), f"{base}/../../secret", "s3://theirs/m"):
        code, text = reload(server, place)
        assert code == "PERMISSION_DENIED"
        assert f"served from {place}, " in text
    assert answers(server, 1)
