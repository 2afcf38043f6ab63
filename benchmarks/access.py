"""What it costs to tell whose a request is, and whether they may: in this process, without sockets.

    python benchmarks/access.py

Of many short rounds the quickest counts, so that other work on the machine shows little. There are
10,000 keys; the token has 1.1 kB.
"""

import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.issuers import ISSUER, jwk, key_set, private_key, token

from salver.access.guard import Guard
from salver.access.keys import new_key
from salver.access.tokens import verify
from salver.config.auth import read_auth_config
from salver.transport.messages import Headers, HttpRequest
from salver.vocabulary.access import Verb
from salver.vocabulary.requests import ServableRequest

CONFIG = f"""
api_keys: {{file: keys.txt}}
jwt: [{{issuer: "{ISSUER}", audience: salver, jwks_file: set.json, algorithms: [RS256, ES256]}}]
roles:
  any: {{verbs: [predict]}}
  named: {{models: [fraud], verbs: [predict]}}
  pattern: {{models: ["fra*"], verbs: [predict]}}
"""
FRAUD = ServableRequest("fraud")


def micros(call: Callable[[], object], calls: int = 1000, rounds: int = 500) -> float:
    """The quickest round, for one call."""
    return min(timeit.repeat(call, number=calls, repeat=rounds)) / calls * 1e6


def made(root: Path) -> tuple[Guard, dict[str, str]]:
    """A guard, and a key of each role."""
    keys = {role: new_key(role, role) for role in ("any", "named", "pattern")}
    lines = [line.text for _, line in keys.values()]
    lines += [new_key(f"k{number}", "any")[1].text for number in range(10_000)]
    (root / "keys.txt").write_text("\n".join(lines))
    entries = [jwk(name, private_key(name), kid=name) for name in ("RS256", "ES256")]
    (root / "set.json").write_bytes(key_set(*entries))
    (root / "auth.yaml").write_text(CONFIG)
    guard = Guard(read_auth_config(str(root / "auth.yaml")))
    return guard, {role: key for role, (key, _) in keys.items()}


def show(what: str, taken: float) -> None:
    print(f"{what:<52} {taken:7.2f} µs")


def asked(guard: Guard, what: str, name: bytes, value: bytes) -> None:
    """What one request costs whose credentials are known."""
    request = HttpRequest("POST", "/", Headers(b"host: x\r\n" + name + b": " + value + b"\r\n"))
    show(f"{what}: to read the header alone", micros(lambda: request.header(name)))
    show(f"{what}: identify", micros(lambda: guard.identify(request)))
    both = micros(lambda: guard.permit(guard.identify(request), Verb.PREDICT, FRAUD))
    show(f"{what}: identify and permit", both)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        guard, keys = made(Path(directory))
    now_s = time.time()  # noqa: TID251 - tokens are of the calendar
    tokens = {
        name: token(name, name, iat=now_s - 1, exp=now_s + 3600, roles=["any"], note="x" * 400)
        for name in ("RS256", "ES256")
    }
    for role, key in keys.items():
        asked(guard, f"key, models: {role}", b"authorization", f"Bearer {key}".encode())
    asked(guard, "key, x-api-key", b"x-api-key", keys["any"].encode())
    asked(guard, "token", b"authorization", b"Bearer " + tokens["RS256"])
    rules, found = guard.standing.rules, guard.standing.keys
    key_shown = keys["any"].encode()
    show("key, not seen before", micros(lambda: found.find(key_shown)))
    for name, shown in tokens.items():
        call = lambda: verify(shown, rules.trusted, rules.config.roles, now_s)  # noqa: B023, E731
        show(f"token of {name}, not seen before", micros(call, 20))


if __name__ == "__main__":
    main()
