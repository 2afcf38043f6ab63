import math
from pathlib import Path
from typing import Any

import pytest

from salver.config.auth import AuthConfig, JwtIssuer, parse_auth_config, read_auth_config
from salver.errors import InvalidArgument, NotFound
from salver.vocabulary.access import Priority, Role, Verb

YAML = """
schema: 1
anonymous: {verbs: [health]}
api_keys: {file: keys.txt}
jwt:
  - issuer: https://issuer.example
    audience: salver
    jwks_file: keys/set.json
    algorithms: [RS256, ES256]
    subject_claim: email
    role_claim: realm_access.roles
    leeway_seconds: 0
  - {issuer: other, audience: salver, jwks_url: "https://other.example/jwks", algorithms: [EdDSA]}
mtls: [{subject_alt_name: "spiffe://example/scorer", role: scorer}]
roles:
  scorer:
    models: [fraud, "digits-*"]
    verbs: [predict, metadata]
    requests_per_second: 100
    burst: 200
    max_concurrent_requests: 16
    priority: batch
  root: {verbs: [health, metadata, predict, metrics, admin]}
"""
TEXT = """
anonymous { verbs: "health" }
api_keys { file: "keys.txt" }
jwt { issuer: "https://issuer.example" audience: "salver" jwks_file: "keys/set.json"
      algorithms: "RS256" algorithms: "ES256" subject_claim: "email"
      role_claim: "realm_access.roles" leeway_seconds: 0 }
jwt { issuer: "other" audience: "salver" jwks_url: "https://other.example/jwks"
      algorithms: "EdDSA" }
mtls { subject_alt_name: "spiffe://example/scorer" role: "scorer" }
roles { key: "scorer" value { models: "fraud" models: "digits-*" verbs: "predict" verbs: "metadata"
        requests_per_second: 100 burst: 200 max_concurrent_requests: 16 priority: "batch" } }
roles { key: "root" value { verbs: "health" verbs: "metadata" verbs: "predict" verbs: "metrics"
        verbs: "admin" } }
"""


@pytest.mark.parametrize(("name", "content"), [("auth.yaml", YAML), ("auth.config", TEXT)])
def test_all_that_the_file_can_say_is_read_with_paths_beside_it(
    name: str, content: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    scorer = Role(
        "scorer",
        ("fraud", "digits-*"),
        frozenset({Verb.PREDICT, Verb.METADATA}),
        100.0,
        200,
        16,
        Priority.BATCH,
    )
    assert read_auth_config(str(tmp_path / name)) == AuthConfig(
        path=str(tmp_path / name),
        anonymous=Role("anonymous", verbs=frozenset({Verb.HEALTH})),
        key_file=str(tmp_path / "keys.txt"),
        issuers=(
            JwtIssuer(
                "https://issuer.example",
                "salver",
                str(tmp_path / "keys" / "set.json"),
                "",
                ("RS256", "ES256"),
                "email",
                "realm_access.roles",
                0,
            ),
            JwtIssuer("other", "salver", "", "https://other.example/jwks", ("EdDSA",)),
        ),
        certificates={"spiffe://example/scorer": scorer},
        roles={"root": Role("root", verbs=frozenset(Verb)), "scorer": scorer},
    )


def parsed(content: str) -> AuthConfig:
    return parse_auth_config(content.encode(), "/etc/auth.yaml")


def test_a_file_that_says_nothing_permits_nothing() -> None:
    config = parsed("# nothing yet")
    assert config.anonymous.verbs == frozenset()
    assert not config.roles
    assert not config.issuers


def test_a_rate_without_a_burst_lets_a_second_s_worth_come_at_once() -> None:
    roles = parsed(
        "roles: {a: {requests_per_second: 2.5}, b: {requests_per_second: 0.1}, c: {}}"
    ).roles
    assert [(each.requests_per_second, each.burst) for each in roles.values()] == [
        (2.5, 3),
        (0.1, 1),
        (math.inf, 1),
    ]


ISSUER: dict[str, Any] = {
    "issuer": "i",
    "audience": "a",
    "jwks_url": "https://i/jwks",
    "algorithms": ["RS256"],
}


def issuer(**changes: Any) -> str:
    entry = {key: value for key, value in {**ISSUER, **changes}.items() if value is not None}
    return f"jwt: [{entry}]"


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ("schema: 2", r"Invalid protobuf file"),
        ("rolls: {}", r"Invalid protobuf file"),
        ("roles: {a: {models: []}}", r"Invalid protobuf file"),
        ("anonymous: {models: []}", r"Invalid protobuf file"),
        ("roles: {a: {models: ['']}}", "the role a names a model without a name"),
        ("roles: {'a b': {}}", "a role's name has 1 to 64 visible ASCII characters"),
        ("roles: {anonymous: {verbs: [admin]}}", "a role cannot be named anonymous: that is the"),
        ("roles: {a: {verbs: [Predict]}}", "the role a has the verb 'Predict', none of health"),
        ("roles: {a: {priority: high}}", "priority of the role a must be interactive or batch"),
        ("roles: {a: {requests_per_second: 0}}", "must be positive, not 0"),
        ("roles: {a: {requests_per_second: .inf}}", "Invalid protobuf file"),
        ("roles: {a: {requests_per_second: 'NaN'}}", "must be positive, not nan"),
        ("roles: {a: {burst: 3}}", "burst of the role a must be positive, and beside"),
        ("roles: {a: {requests_per_second: 3, burst: 0}}", "burst of the role a must be positive"),
        ("roles: {a: {max_concurrent_requests: -1}}", "must be from 0 up"),
        ("api_keys: {}", "api_keys needs a file"),
        ("mtls: [{subject_alt_name: x, role: r}]", 'the role "r" of x is none of roles'),
        ("mtls: [{role: r}]\nroles: {r: {}}", "mtls needs a subject_alt_name"),
        (
            "mtls: [{subject_alt_name: x, role: r}, {subject_alt_name: x, role: r}]\n"
            "roles: {r: {}}",
            "the subject_alt_name x is there twice",
        ),
        (issuer(issuer=""), "jwt needs an issuer and an audience"),
        (issuer(audience=None), "jwt needs an issuer and an audience"),
        (issuer(jwks_url=None), "the issuer i needs one of jwks_file and jwks_url"),
        (issuer(jwks_file="x"), "the issuer i needs one of jwks_file and jwks_url"),
        (issuer(jwks_url="http://i/jwks"), "jwks_url must begin with https://"),
        (issuer(jwks_url="file:///etc/passwd"), "jwks_url must begin with https://"),
        (issuer(jwks_url="https://[/"), "jwks_url must begin with https://"),
        (issuer(jwks_url="https://me:secret@i/jwks"), "must not hold a user or a password$"),
        (issuer(algorithms=[]), "the issuer i needs algorithms"),
        (issuer(algorithms=["none"]), "the issuer i has the algorithm 'none', none of RS256"),
        (issuer(algorithms=["HS256"]), "the issuer i has the algorithm 'HS256', none of"),
        (issuer(leeway_seconds=-1), "leeway_seconds of i must be from 0 to 600"),
        (issuer(leeway_seconds=86400), "leeway_seconds of i must be from 0 to 600"),
        (f"jwt: [{ISSUER}, {ISSUER}]", "the issuer i is there twice for the audience a"),
    ],
)
def test_what_makes_no_sense_is_refused(content: str, wrong: str) -> None:
    with pytest.raises(InvalidArgument, match=wrong):
        parsed(content)


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:9"])
def test_this_machine_may_be_asked_for_keys_without_tls(host: str) -> None:
    url = f"http://{host}/jwks"
    assert parsed(issuer(jwks_url=url)).issuers[0].jwks_url == url


def test_a_wrong_value_is_told_with_its_place() -> None:
    with pytest.raises(InvalidArgument) as caught:
        parsed("roles:\n  a: {verbs: predict}")
    assert caught.value.hint == "2:14: verbs must be a list"


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_auth_config(str(tmp_path / "none.yaml"))
