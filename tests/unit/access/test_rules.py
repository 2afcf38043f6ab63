from pathlib import Path

import pytest
from tests.issuers import jwk, key_set, private_key

from salver.access.keys import new_key
from salver.access.rules import Rules, check_auth_files
from salver.config.auth import AuthConfig, JwtIssuer
from salver.errors import InvalidArgument, NotFound
from salver.vocabulary.access import Role, Verb

SCORER = Role("scorer", verbs=frozenset({Verb.PREDICT}))


def config(root: Path) -> AuthConfig:
    issuer = JwtIssuer("i", "a", str(root / "set.json"), "", ("RS256",))
    path = str(root / "auth.yaml")
    return AuthConfig(path, Role("anonymous"), str(root / "keys.txt"), (issuer,), {}, {"r": SCORER})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "keys.txt").write_text(f"{new_key('a', 'r')[1].text}\n")
    (tmp_path / "set.json").write_bytes(key_set(jwk("RS256", private_key("RS256"))))
    return tmp_path


def test_files_that_are_right_pass(root: Path) -> None:
    check_auth_files(config(root))


@pytest.mark.parametrize("name", ["keys.txt", "set.json"])
def test_a_wrong_file_is_no_start(name: str, root: Path) -> None:
    (root / name).write_text("garbage")
    with pytest.raises(InvalidArgument, match=name):
        check_auth_files(config(root))
    (root / name).unlink()
    with pytest.raises(NotFound, match=name):
        check_auth_files(config(root))


def test_an_issuer_without_a_key_of_use_is_no_start(root: Path) -> None:
    (root / "set.json").write_bytes(key_set())
    with pytest.raises(InvalidArgument, match=r"set\.json has no public key that can check tokens"):
        check_auth_files(config(root))


def test_a_key_without_its_role_is_no_start(root: Path) -> None:
    (root / "keys.txt").write_text(f"{new_key('a', 'other')[1].text}\n")
    with pytest.raises(InvalidArgument, match=r"keys\.txt: the key a has a role that .*auth\.yaml"):
        check_auth_files(config(root))


def test_a_key_has_the_role_of_the_present_configuration(root: Path) -> None:
    rules = Rules(config(root))
    principal = rules.principal_of(new_key("a", "r")[1])
    assert (principal.name, principal.kind, principal.role) == ("a", "api_key", SCORER)
    assert not rules.principal_of(new_key("a", "gone")[1]).role.verbs


def test_an_issuer_whose_keys_are_not_known_is_trusted_without_any(root: Path) -> None:
    assert [each.keys for each in Rules(config(root)).trusted] == [None]
