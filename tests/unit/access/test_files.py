import itertools
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from queue import SimpleQueue

import pytest
from tests.issuers import jwk, key_set, private_key

from salver.access.files import AuthFiles
from salver.access.key_sets import KeySet
from salver.access.keys import KeyLine, new_key
from salver.config.auth import AuthConfig, read_auth_config

WAIT_S = 10
CONFIG = """
api_keys: {file: keys.txt}
jwt: [{issuer: i, audience: a, jwks_file: set.json, algorithms: [RS256]}]
roles: {scorer: {verbs: [predict]}}
"""
KEY = jwk("RS256", private_key("RS256"), kid="1")
Said = tuple[AuthConfig, tuple[KeyLine, ...], Mapping[str, KeySet]]


class Bench:
    """Files of access control, and what reads them, whose pauses end when the test says so."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.said: list[Said] = []
        self.at_rest: Callable[[], None] = lambda: None  # called between two readings
        self.now_s = 0.0
        self.pauses: SimpleQueue[float | None] = SimpleQueue()
        self.write("auth.yaml", CONFIG)
        self.write("set.json", key_set(KEY))
        self.keys("a", "b")

    def write(self, name: str, content: str | bytes) -> None:
        new = self.root / f"{name}.new"
        new.write_bytes(content.encode() if isinstance(content, str) else content)
        new.rename(self.root / name)

    def overwrite(self, name: str, content: str) -> None:
        """Write it in place, as `>` does."""
        (self.root / name).write_text(content)

    def keys(self, *ids: str, role: str = "scorer") -> None:
        self.write("keys.txt", "# keys\n" + "".join(f"{new_key(id, role)[1].text}\n" for id in ids))

    def read(self) -> None:
        """Read all once, and begin to read again."""
        self.files = AuthFiles(
            read_auth_config(str(self.root / "auth.yaml")),
            lambda *said: self.said.append(said),
            is_watching=False,
            wait=self.wait,
            monotonic=lambda: self.now_s,
        )

    def start(self) -> None:
        self.read()
        self.files.start()
        self.until_polled()

    def wait(self, event: threading.Event, timeout_s: float | None) -> bool:
        if timeout_s is not None and timeout_s < 1:
            self.at_rest()
            return False
        self.pauses.put(timeout_s)
        return event.wait(WAIT_S)

    def until_polled(self) -> None:
        assert self.pauses.get(timeout=WAIT_S) == 2.0

    def poll(self) -> None:
        self.files.poke()
        self.until_polled()

    def ids(self) -> list[str]:
        return [line.id for line in self.said[-1][1]]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    assert bench.files.close(WAIT_S)


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]


def test_all_is_read_once_before_anything_starts(bench: Bench) -> None:
    bench.read()
    ((config, lines, key_sets),) = bench.said
    assert config.key_file == str(bench.root / "keys.txt")
    assert [line.id for line in lines] == ["a", "b"]
    assert [keys.keys[0].id for keys in key_sets.values()] == ["1"]


def test_what_has_not_changed_is_said_once(bench: Bench) -> None:
    bench.start()
    bench.poll()
    assert len(bench.said) == 1


def test_a_key_that_was_taken_out_is_gone(bench: Bench) -> None:
    bench.start()
    bench.keys("b")
    bench.poll()
    assert bench.ids() == ["b"]


@pytest.mark.parametrize("garbage", [b"\0\xff", b"<html>404</html>\n", b"a b c d e f\n"])
def test_garbage_in_place_of_the_keys_changes_nothing_and_is_told(
    garbage: bytes, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.start()
    bench.write("keys.txt", garbage)
    bench.poll()
    assert len(bench.said) == 1
    assert len(errors(caplog)) == 1
    assert "keys.txt" in errors(caplog)[0]
    assert errors(caplog)[0].endswith("; what it said before stays")
    bench.keys("c")
    bench.poll()
    assert bench.ids() == ["c"]
    assert f"{bench.root / 'keys.txt'} is right again" in caplog.messages


def test_garbage_is_told_again_each_minute_and_not_at_each_look(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.start()
    bench.write("keys.txt", "garbage")
    for now_s in (0.0, 2.0, 59.0, 60.0, 100.0, 120.0):
        bench.now_s = now_s
        bench.poll()
    assert len(errors(caplog)) == 3


def test_garbage_is_parsed_once_and_its_parser_s_complaint_comes_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.start()
    bench.write("auth.yaml", "roles: {a: {verbs: all}}")
    for _ in range(5):
        bench.poll()
    assert [text.partition(":")[0] for text in errors(caplog)] == [
        "Error parsing YAML salver.AuthConfig",
        "Access control",
    ]
    assert "(1:20: verbs must be a list)" in errors(caplog)[1]
    wrong = (bench.root / "auth.yaml").read_bytes()
    (bench.root / "auth.yaml").unlink()
    bench.poll()
    bench.write("auth.yaml", wrong)
    bench.poll()
    assert "No such file" in errors(caplog)[2]
    assert errors(caplog)[3] == errors(caplog)[1]


def test_what_comes_back_after_garbage_is_right_again_though_it_is_the_same(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.start()
    before = (bench.root / "keys.txt").read_bytes()
    for content in (b"garbage", before, b"garbage"):
        bench.write("keys.txt", content)
        bench.poll()
    assert len(errors(caplog)) == 2
    assert len(bench.said) == 1


@pytest.mark.parametrize("name", ["keys.txt", "set.json", "auth.yaml"])
def test_a_file_that_is_gone_or_a_pipe_changes_nothing(
    name: str, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.start()
    (bench.root / name).unlink()
    bench.poll()
    os.mkfifo(bench.root / name)
    bench.poll()
    assert len(bench.said) == 1
    assert [name in text for text in errors(caplog)] == [True, True]


def test_an_empty_key_file_has_no_keys(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.start()
    bench.write("keys.txt", "")
    bench.poll()
    assert bench.ids() == []
    assert f"{bench.root / 'keys.txt'} has no keys" in caplog.messages


def test_garbage_in_one_file_keeps_no_revocation_back(bench: Bench) -> None:
    bench.start()
    bench.write("set.json", "garbage")
    bench.write("auth.yaml", "garbage")
    bench.keys("b")
    bench.poll()
    config, lines, key_sets = bench.said[-1]
    assert [line.id for line in lines] == ["b"]
    assert list(config.roles) == ["scorer"]
    assert list(key_sets) == [str(bench.root / "set.json")]


def test_a_file_that_is_just_being_written_is_read_once_it_is_whole(bench: Bench) -> None:
    bench.start()
    whole = "".join(f"{new_key(id, 'scorer')[1].text}\n" for id in ("x", "y", "z"))
    parts = [whole[: len(whole) // 2], whole]

    def go_on() -> None:
        if parts:
            bench.overwrite("keys.txt", parts.pop(0))

    bench.at_rest = go_on
    bench.overwrite("keys.txt", whole.splitlines(keepends=True)[0])
    bench.poll()
    assert bench.ids() == ["x", "y", "z"]
    assert len(bench.said) == 2


def test_a_file_that_is_saved_by_making_it_anew_is_not_taken_while_it_is_empty(
    bench: Bench,
) -> None:
    """As some editors do: the old one is moved away, and the new one written in its place."""
    bench.start()
    (bench.root / "keys.txt").rename(bench.root / "keys.txt~")
    bench.overwrite("keys.txt", "")
    line = new_key("x", "scorer")[1].text
    bench.at_rest = lambda: bench.overwrite("keys.txt", f"{line}\n")
    bench.poll()
    assert [[line.id for line in lines] for _, lines, _ in bench.said] == [["a", "b"], ["x"]]


@pytest.mark.parametrize("name", ["auth.yaml", "set.json"])
def test_a_file_that_never_rests_keeps_no_revocation_in_another_back(
    name: str, bench: Bench
) -> None:
    bench.start()
    content = (bench.root / name).read_text()
    num_rests = 0
    revoked_after: int | None = None

    def change() -> None:
        nonlocal num_rests, revoked_after
        if revoked_after is None and bench.ids() == ["b"]:
            revoked_after = num_rests
        num_rests += 1
        if num_rests < 20:
            bench.write(name, content + " " * num_rests)

    bench.at_rest = change
    change()
    bench.keys("b")
    bench.poll()
    assert revoked_after == 2  # the second reading of the keys


def test_a_file_that_never_rests_counts_after_five_readings(bench: Bench) -> None:
    bench.start()
    numbers = itertools.count()

    def change() -> None:
        if (number := next(numbers)) < 12:
            bench.keys(f"of-{number}")

    bench.at_rest = change
    for _ in range(3):
        change()
        bench.poll()
    assert [[line.id for line in lines] for _, lines, _ in bench.said] == [
        ["a", "b"],
        ["of-4"],
        ["of-9"],
        ["of-11"],
    ]


def test_a_file_that_is_gone_while_it_changes_is_waited_for_no_more(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.start()
    bench.at_rest = (bench.root / "keys.txt").unlink
    bench.keys("x")
    bench.poll()
    assert "No such file" in errors(caplog)[0]
    assert bench.ids() == ["a", "b"]


def test_other_keys_of_an_issuer_are_taken(bench: Bench) -> None:
    bench.start()
    bench.write("set.json", key_set(jwk("RS256", private_key("RS256", 1), kid="2")))
    bench.poll()
    (keys,) = bench.said[-1][2].values()
    assert [key.id for key in keys.keys] == ["2"]


@pytest.mark.parametrize("entries", [(), ({"kty": "ML-DSA", "kid": "2"},)])
def test_an_issuer_that_has_withdrawn_all_keys_that_we_know_has_none(
    entries: tuple[dict[str, object], ...], bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.start()
    bench.write("set.json", key_set(*entries))
    bench.poll()
    (keys,) = bench.said[-1][2].values()
    assert keys.keys == ()
    (text,) = errors(caplog)
    assert text.startswith(f"Access control: {bench.root / 'set.json'} has no public key")


def test_roles_may_change_while_it_runs(bench: Bench) -> None:
    bench.start()
    bench.write("auth.yaml", CONFIG.replace("predict", "metadata"))
    bench.poll()
    assert [verb.value for verb in bench.said[-1][0].roles["scorer"].verbs] == ["metadata"]


def test_the_configuration_may_name_other_files(bench: Bench) -> None:
    bench.start()
    (bench.root / "other.txt").write_text(f"{new_key('z', 'scorer')[1].text}\n")
    bench.write("auth.yaml", CONFIG.replace("keys.txt", "other.txt"))
    bench.poll()
    assert bench.ids() == ["z"]
    bench.write("auth.yaml", "roles: {scorer: {}}")
    bench.poll()
    assert bench.said[-1][1:] == ((), {})


def test_a_key_whose_role_is_gone_is_told(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.start()
    bench.keys("a", "b", "c", role="gone")
    bench.poll()
    assert bench.ids() == ["a", "b", "c"]
    (text,) = errors(caplog)
    assert "the key a has a role that" in text
    assert text.endswith("; 3 such keys may do no more than anybody")


def test_wrong_files_at_the_start_let_nobody_in(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a worker that is started anew: the server itself does not start with them."""
    bench.write("keys.txt", "garbage")
    bench.write("set.json", "garbage")
    bench.start()
    assert bench.said[-1][1:] == ((), {})
    assert [text.endswith("; it lets nobody in") for text in errors(caplog)] == [True, True]
    bench.keys("a")
    bench.poll()
    assert bench.ids() == ["a"]


def test_nothing_of_a_file_stands_in_the_log(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.start()
    key, line = new_key("ci", "scorer")
    for content in (f"{key}\n", f"{line.text} {key}\n", f"ci {key} scorer\n", f"{line.text}\n"):
        bench.write("keys.txt", content)
        bench.poll()
    assert len(errors(caplog)) == 3
    assert key[-32:] not in caplog.text
    assert line.sum.hex() not in caplog.text


def test_a_file_that_anybody_may_write_is_told(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    (bench.root / "keys.txt").chmod(0o646)
    bench.read()
    text = f"{bench.root / 'keys.txt'} can be written by anybody on this machine"
    assert caplog.messages.count(text) == 1
    assert not [each for each in caplog.messages if "auth.yaml" in each]


def test_a_change_is_noticed_at_once_where_the_system_tells(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    changed = threading.Event()

    def take(_config: AuthConfig, lines: tuple[KeyLine, ...], _sets: Mapping[str, KeySet]) -> None:
        if [line.id for line in lines] == ["b"]:
            changed.set()

    files = AuthFiles(read_auth_config(str(tmp_path / "auth.yaml")), take)
    files.start()
    bench.keys("b")
    assert changed.wait(WAIT_S)
    assert files.close(WAIT_S)


def test_a_secret_of_kubernetes_is_noticed_when_it_is_replaced(tmp_path: Path) -> None:
    """Which is a link to a directory, moved: keys.txt → ..data/keys.txt, ..data → a directory."""
    bench = Bench(tmp_path)
    for name, id in (("..1", "old"), ("..2", "new")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "keys.txt").write_text(new_key(id, "scorer")[1].text)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "keys.txt").unlink()
    (tmp_path / "keys.txt").symlink_to("..data/keys.txt")
    said: SimpleQueue[list[str]] = SimpleQueue()
    files = AuthFiles(
        read_auth_config(str(bench.root / "auth.yaml")),
        lambda _config, lines, _sets: said.put([line.id for line in lines]),
    )
    assert said.get(timeout=WAIT_S) == ["old"]
    files.start()
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    assert said.get(timeout=WAIT_S) == ["new"]
    assert files.close(WAIT_S)


def test_a_stop_ends_the_wait_for_a_file_at_rest(bench: Bench) -> None:
    bench.start()

    def stop() -> None:
        bench.keys("x")
        bench.files.stop()

    bench.at_rest = stop
    bench.keys("y")
    bench.files.poke()
    assert bench.files.close(WAIT_S)
    assert len(bench.said) == 1
