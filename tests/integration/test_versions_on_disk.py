"""What happens to a running server when directories come, go, and are broken."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.integration.serving import Server, eventually

StartServer = Callable[..., Server]
NO_RETRIES = "--max_num_load_retries=0"


@pytest.fixture
def base_path(model_path: Callable[[str], Path], tmp_path: Path) -> Path:
    """A base path of its own with version 1 of half_plus_two."""
    base = tmp_path / "models" / "m"
    shutil.copytree(model_path("half_plus_two") / "00000123", base / "1")
    return base


def config_of(base_paths: Mapping[str, Path], policy: str = "") -> str:
    """A configuration of models, all under one policy."""
    models = [
        f'config {{ name: "{name}" base_path: "{base_path}" '
        f'model_platform: "tensorflow" {policy} }}'
        for name, base_path in base_paths.items()
    ]
    return f"model_config_list {{ {', '.join(models)} }}"


def put(source: Path, base: Path, version: int) -> None:
    """Bring a version in as an exporter should: whole, under another name, then renamed."""
    shutil.copytree(source, base / f"unfinished-{version}")
    (base / f"unfinished-{version}").rename(base / str(version))


def assert_serves(server: Server, version: int) -> None:
    answer = server.predict("m", [1.0, 2.0, 5.0])
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"predictions": [2.5, 3.0, 4.5]}
    assert answer.headers["salver-model-version"] == str(version)


# Root reads what nobody may. So where the tests are root's, the server is root without that right.
AS_ANYBODY = """
import ctypes
head = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice
libc = ctypes.CDLL(None, use_errno=True)
assert libc.capget(head, sets) == 0
for place in (0, 1):
    sets[place] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
assert libc.capset(head, sets) == 0
"""


@pytest.fixture
def server(base_path: Path, start_server: StartServer) -> Server:
    return start_server(
        *("--model_name=m", f"--model_base_path={base_path}", NO_RETRIES), prelude=AS_ANYBODY
    )


def test_a_new_version_takes_over_and_the_old_one_is_unloaded(
    server: Server, base_path: Path
) -> None:
    assert_serves(server, 1)
    put(base_path / "1", base_path, 2)
    server.wait_until("m", 2)
    server.wait_until("m", 1, "END")
    assert_serves(server, 2)
    gone = server.predict("m", [1.0], version=1)
    assert gone.status_code == 404
    assert gone.json()["error"] == "Servable not found for request: Specific(m, 1)"


def test_going_back_is_removing_the_newer_version(server: Server, base_path: Path) -> None:
    put(base_path / "1", base_path, 2)
    server.wait_until("m", 2)
    server.wait_until("m", 1, "END")
    shutil.rmtree(base_path / "2")
    server.wait_until("m", 1)
    server.wait_until("m", 2, "END")
    assert_serves(server, 1)


@pytest.mark.parametrize(
    "broken",
    ["corrupt_pb", "empty_pb", "empty_directory", "no_pb", "legacy_bundle", "truncated_pb",
     "lost_variables"],
)  # fmt: skip
def test_a_broken_version_leaves_the_old_one_serving(
    broken: str, server: Server, base_path: Path, version_path: Callable[[str], Path]
) -> None:
    put(version_path(broken), base_path, 2)
    server.wait_until("m", 2, "END")
    status = server.get("/v1/models/m/versions/2").json()["model_version_status"][0]["status"]
    assert status["error_code"] != "OK"
    assert status["error_message"]
    assert_serves(server, 1)


def test_the_errors_of_broken_versions_are_the_reference_s(
    model_path: Callable[[str], Path], tmp_path: Path, start_server: StartServer
) -> None:
    names = ("no_pb", "legacy_bundle")
    for name in names:
        shutil.copytree(model_path("half_plus_two") / "00000123", tmp_path / name / "1")
    config = tmp_path / "models.conf"
    config.write_text(config_of({name: tmp_path / name for name in names}))
    server = start_server(f"--model_config_file={config}", NO_RETRIES)
    for name in names:
        put(model_path(name) / "1", tmp_path / name, 2)

    def error_of(name: str) -> tuple[str, str]:
        server.wait_until(name, 2, "END")
        answer = server.get(f"/v1/models/{name}/versions/2").json()
        status = answer["model_version_status"][0]["status"]
        return status["error_code"], status["error_message"]

    assert error_of("no_pb") == (
        "NOT_FOUND",
        "Specified file path does not appear to contain a SavedModel bundle "
        "(should have a file called `saved_model.pb`)\n"
        f"Specified file path: {tmp_path}/no_pb/2",
    )
    assert error_of("legacy_bundle") == (
        "UNIMPLEMENTED",
        "Session Bundle is deprecated and removed.",
    )


def test_a_half_copied_version_is_served_once_it_is_whole(server: Server, base_path: Path) -> None:
    """Ours: a failed version is tried again when its files change."""
    source = base_path / "1"
    (base_path / "2").mkdir()
    server.wait_until("m", 2, "END")
    assert_serves(server, 1)
    for name in ("assets", "variables"):
        shutil.copytree(source / name, base_path / "2" / name)
    shutil.copy(source / "saved_model.pb", base_path / "2")
    server.wait_until("m", 2)
    assert_serves(server, 2)


def test_deleting_the_whole_base_path_unloads_nothing(server: Server, base_path: Path) -> None:
    shutil.move(base_path, base_path.with_name("away"))
    server.err.wait_for("FileSystemStoragePathSource encountered a filesystem access error")
    assert_serves(server, 1)
    shutil.move(base_path.with_name("away"), base_path)
    put(base_path / "1", base_path, 2)
    server.wait_until("m", 2)
    assert_serves(server, 2)


def test_a_base_path_left_empty_unloads_the_model(server: Server, base_path: Path) -> None:
    shutil.rmtree(base_path / "1")
    server.wait_until("m", 1, "END")
    server.err.wait_for(
        f"No versions of servable m found under base path {base_path}. "
        "Did you forget to name your leaf directory as a number (eg. '/1/')?"
    )
    answer = server.predict("m", [1.0])
    assert answer.status_code == 404
    assert answer.json()["error"] == "Servable not found for request: Latest(m)"


def test_files_deleted_under_a_loaded_version_do_not_disturb_it(
    server: Server, base_path: Path
) -> None:
    for file in list((base_path / "1").rglob("*")):
        if file.is_file():
            file.unlink()
    assert_serves(server, 1)


@pytest.mark.parametrize("obstacle", ["no permission", "a loop of links", "a directory"])
def test_a_file_that_cannot_be_read_fails_its_version_only(
    obstacle: str, server: Server, base_path: Path
) -> None:
    unfinished = base_path / "unfinished"
    shutil.copytree(base_path / "1", unfinished)
    graph = unfinished / "saved_model.pb"
    match obstacle:
        case "no permission":
            graph.chmod(0)
        case "a loop of links":
            graph.unlink()
            graph.symlink_to(graph)
        case _:
            graph.unlink()
            graph.mkdir()
    unfinished.rename(base_path / "2")
    server.wait_until("m", 2, "END")
    assert_serves(server, 1)


def test_names_that_are_no_numbers_are_no_versions(server: Server, base_path: Path) -> None:
    for name in ("v3", "3.0", "tmp-3", "3_new"):
        shutil.copytree(base_path / "1", base_path / name)
    put(base_path / "1", base_path, 2)
    server.wait_until("m", 2)
    assert set(server.states("m")) == {1, 2}


def test_a_model_whose_base_path_is_gone_does_not_hold_up_the_others(
    base_path: Path, tmp_path: Path, start_server: StartServer
) -> None:
    """Ours: in the reference, one missing base path stops the updates of every model."""
    other = tmp_path / "models" / "other"
    shutil.copytree(base_path, other)
    config = tmp_path / "models.conf"
    config.write_text(config_of({"m": base_path, "other": other}))
    server = start_server(f"--model_config_file={config}")
    shutil.rmtree(other)
    put(base_path / "1", base_path, 2)
    server.wait_until("m", 2)
    assert_serves(server, 2)
    assert server.predict("other", [2.0]).json() == {"predictions": [3.0]}


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("", {3}),
        ("model_version_policy { latest { num_versions: 2 } }", {2, 3}),
        ("model_version_policy { all {} }", {1, 2, 3}),
        ("model_version_policy { specific { versions: 1 versions: 3 } }", {1, 3}),
    ],
)
def test_each_policy_serves_its_versions(
    policy: str, served: set[int], base_path: Path, tmp_path: Path, start_server: StartServer
) -> None:
    for version in (2, 3):
        put(base_path / "1", base_path, version)
    config = tmp_path / "models.conf"
    config.write_text(config_of({"m": base_path}, policy))
    server = start_server(f"--model_config_file={config}")

    def available() -> set[int]:
        return {v for v, state in server.states("m").items() if state == "AVAILABLE"}

    eventually(f"{served} are available", lambda: available() == served)
    for version in (1, 2, 3):
        expected = 200 if version in served else 404
        assert server.predict("m", [1.0], version=version).status_code == expected
