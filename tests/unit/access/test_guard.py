import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.issuers import ISSUER, NOW_S, jwk, key_set, private_key, token

from salver.access import guard as guard_module
from salver.access.files import AuthFiles
from salver.access.guard import Guard, KeysAwaited, make_guard
from salver.access.key_fetchers import KeyFetchers
from salver.access.keys import new_key
from salver.access.tokens import NoKeys
from salver.config.auth import read_auth_config
from salver.errors import PermissionDenied, ServingError, Unauthenticated, Unavailable
from salver.vocabulary.access import UNSAID, Principal, Verb
from salver.vocabulary.requests import ServableRequest

WAIT_S = 10
CONFIG = f"""
anonymous: {{verbs: [health]}}
api_keys: {{file: keys.txt}}
jwt: [{{issuer: "{ISSUER}", audience: salver, jwks_file: set.json, algorithms: [RS256]}}]
mtls: [{{subject_alt_name: "spiffe://example/scorer", role: scorer}}]
roles:
  scorer: {{models: [fraud, "digits-*"], verbs: [predict, metadata]}}
  root: {{verbs: [metadata, predict, metrics, admin]}}
"""
FRAUD = ServableRequest("fraud")


class Named(NamedTuple):
    """Whom a certificate names."""

    names: tuple[str, ...]
    subject: str = "CN=x"


class Context:
    """A request with header fields, and perhaps a certificate."""

    timeout_s: float | None = None
    protocol = "REST"
    target = "/v1/models/fraud:predict"
    peer = "10.0.0.1"
    servable: ServableRequest | None = None
    need = UNSAID
    principal: Principal | None = None

    def __init__(self, identity: Named | None = None, **fields: str | bytes) -> None:
        self.identity = identity
        self._fields = {
            name.replace("_", "-").encode(): value.encode() if isinstance(value, str) else value
            for name, value in fields.items()
        }

    def header(self, name: bytes) -> bytes | None:
        return self._fields.get(name)


def bearer(value: str | bytes) -> Context:
    shown = value if isinstance(value, bytes) else value.encode()
    return Context(authorization=b"Bearer " + shown)


class Bench:
    """A guard whose files are read again when the test says so."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now_s = float(NOW_S)
        self.has_polled = threading.Semaphore(0)
        self.is_started = False
        self.key, line = new_key("ci", "scorer")
        self.root_key, root_line = new_key("boss", "root")
        self.late_key, late_line = new_key("late", "scorer", NOW_S + 100.0)
        self.lines = [line.text, root_line.text, late_line.text]
        self.write("keys.txt", "\n".join(self.lines))
        self.write("set.json", key_set(jwk("RS256", private_key("RS256"), kid="1")))
        self.write("auth.yaml", CONFIG)
        self.fetchers: list[KeyFetchers] = []
        self.guard = self.make()

    def make(self, make_fetchers: Callable[..., KeyFetchers] = KeyFetchers) -> Guard:
        return Guard(
            read_auth_config(str(self.root / "auth.yaml")),
            now=lambda: self.now_s,
            make_files=self.make_files,
            make_fetchers=make_fetchers,
        )

    def write(self, name: str, content: str | bytes) -> None:
        new = self.root / f"{name}.new"
        new.write_bytes(content.encode() if isinstance(content, str) else content)
        new.rename(self.root / name)

    def make_files(self, config: Any, publish: Any) -> AuthFiles:
        self.files = AuthFiles(config, publish, is_watching=False, wait=self.wait)
        return self.files

    def wait(self, event: threading.Event, timeout_s: float | None) -> bool:
        if timeout_s is not None and timeout_s < 1:
            return False
        self.has_polled.release()
        return event.wait(WAIT_S)

    def poll(self) -> None:
        if self.is_started:
            self.files.poke()
        else:
            self.guard.start()
        self.is_started = True
        assert self.has_polled.acquire(timeout=WAIT_S)

    def name(self, context: Context) -> str:
        return self.guard.identify(context).name

    def refusal(self, context: Context) -> str:
        with pytest.raises(Unauthenticated) as caught:
            self.guard.identify(context)
        return caught.value.message

    def counts(self) -> dict[str, object]:
        (family,) = self.guard.families()
        return {labels[0]: count for labels, count in family.cells}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.guard.close()
    assert bench.files.close(0)


# -- who -----------------------------------------------------------------------------------------


def test_a_key_is_taken_from_either_header(bench: Bench) -> None:
    for context in (
        bearer(bench.key),
        Context(authorization=f"bearer {bench.key}"),
        Context(authorization=f"BEARER   {bench.key} "),
        Context(x_api_key=bench.key),
        Context(x_api_key=f" {bench.key}"),
    ):
        for _ in range(2):  # the second time it is known
            principal = bench.guard.identify(context)
            assert (principal.name, principal.kind, principal.role.name) == (
                "ci",
                "api_key",
                "scorer",
            )


def test_a_token_is_taken_as_bearer_alone(bench: Bench) -> None:
    for _ in range(2):
        principal = bench.guard.identify(bearer(token()))
        assert (principal.name, principal.kind, principal.role.name) == ("ana", "jwt", "scorer")
    assert bench.refusal(Context(x_api_key=token())) == "The API key is not valid"
    assert bench.refusal(Context(x_api_key=b"Bearer " + token())) == "The API key is not valid"


@pytest.mark.parametrize("is_key", [False, True])
def test_one_token_in_many_spellings_takes_the_room_of_no_other(
    is_key: bool, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = bearer(token()), token(sub="eve")
    assert bench.name(mine) == "ana"
    spellings = [b"Bearer" + b" " * (100_000 + more) + theirs for more in range(100)]
    if is_key:
        spellings = [each.replace(theirs, bench.key.encode()) for each in spellings]
    for each in spellings:
        assert bench.name(Context(authorization=each)) == ("ci" if is_key else "eve")
        by_key = each.removeprefix(b"Bearer") if is_key else f" {bench.key}".encode()
        assert bench.name(Context(x_api_key=by_key)) == "ci"

    def verify(*_: Any, **__: Any) -> Any:
        raise AssertionError("it is not known any more")

    monkeypatch.setattr(guard_module, "verify", verify)
    assert bench.name(mine) == "ana"


def test_a_token_is_known_in_any_spelling_as_long_as_it_is_valid(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = token()
    assert bench.name(Context(authorization=b"bearer  " + shown)) == "ana"

    def verify(*_: Any, **__: Any) -> Any:
        raise Unauthenticated("it is read again")

    monkeypatch.setattr(guard_module, "verify", verify)
    for spelled in (b"Bearer ", b"bearer  ", b"BEARER "):
        assert bench.name(Context(authorization=spelled + shown)) == "ana"
    bench.now_s += 1e6
    assert bench.refusal(Context(authorization=b"bearer  " + shown)) == "it is read again"


@pytest.mark.parametrize("name", ["ci", "spiffe://example/scorer", "anonymous"])
def test_a_token_takes_no_name_that_another_has(name: str, bench: Bench) -> None:
    assert bench.name(bearer(token(sub=name))) == f"{name} ({ISSUER})"


def test_a_known_bearer_is_no_key(bench: Bench) -> None:
    """What one header has shown is not found under another."""
    bench.guard.identify(bearer(bench.key))
    assert bench.refusal(Context(x_api_key=f"Bearer {bench.key}")) == "The API key is not valid"
    bench.guard.identify(Context(x_api_key=bench.key))
    assert "must be Bearer" in bench.refusal(Context(authorization=bench.key))


def test_a_certificate_that_is_named_counts_by_any_of_its_names(bench: Bench) -> None:
    known = Named(("example.com", "spiffe://example/scorer"))
    principal = bench.guard.identify(Context(known))
    assert (principal.name, principal.kind) == ("spiffe://example/scorer", "mtls")
    for other in (
        Named(()),
        Named(("spiffe://example/scorer2", "SPIFFE://example/scorer")),
        Named((), "CN=spiffe://example/scorer"),
    ):
        assert bench.name(Context(other)) == "anonymous"


def test_a_header_counts_before_a_certificate(bench: Bench) -> None:
    known = Named(("spiffe://example/scorer",))
    assert bench.name(Context(known, x_api_key=bench.root_key)) == "boss"
    assert bench.refusal(Context(known, x_api_key="x")) == "The API key is not valid"


def test_bearer_counts_before_x_api_key(bench: Bench) -> None:
    both = Context(authorization=f"Bearer {bench.key}", x_api_key=bench.root_key)
    assert bench.name(both) == "ci"
    wrong = Context(authorization="Bearer x", x_api_key=bench.root_key)
    assert bench.refusal(wrong) == "The token is not valid"


def test_a_proxy_s_authorization_leaves_the_key_its_place(bench: Bench) -> None:
    assert bench.name(Context(authorization="Basic eDp5", x_api_key=bench.key)) == "ci"


@pytest.mark.parametrize(
    "shown", ["", "Bearer", "Bearer ", "Basic eDp5", "x", "Bearer salver_", "Bearer salver_ci_x"]
)
def test_what_is_wrong_never_makes_a_request_an_anonymous_one(shown: str, bench: Bench) -> None:
    assert bench.refusal(Context(authorization=shown))
    assert bench.refusal(Context(x_api_key=shown))


def test_nothing_shown_is_nobody(bench: Bench) -> None:
    assert bench.guard.identify(Context()) is bench.guard.anonymous


def test_a_refusal_quotes_nothing(bench: Bench) -> None:
    other = new_key("ci", "scorer")[0]
    for context in (bearer(other), Context(x_api_key=other), bearer(other + "\n")):
        assert other[-32:] not in bench.refusal(context)


def test_what_is_wrong_is_not_kept(bench: Bench) -> None:
    for number in range(100):
        bench.refusal(bearer(f"salver_ci_{number}"))
        bench.refusal(bearer(f"a.b.{number}"))
    standing = bench.guard.standing
    assert len(standing.by_authorization) == len(standing.by_api_key) == 0


# -- until when ----------------------------------------------------------------------------------


def test_a_key_ends_at_its_time_though_it_is_known(bench: Bench) -> None:
    for context in (bearer(bench.late_key), Context(x_api_key=bench.late_key)):
        bench.now_s = NOW_S + 99.9
        assert bench.name(context) == "late"
        bench.now_s = NOW_S + 100.0
        assert bench.refusal(context) == "The API key has expired"


def test_a_token_that_is_shown_again_after_its_end_is_refused_though_it_is_known(
    bench: Bench,
) -> None:
    shown = bearer(token(exp=NOW_S + 10))
    assert bench.name(shown) == "ana"
    bench.now_s = NOW_S + 69.0
    assert bench.name(shown) == "ana"
    bench.now_s = NOW_S + 70.0
    assert bench.refusal(shown) == "The token has expired"


def test_a_revoked_key_is_refused_though_it_is_known(bench: Bench) -> None:
    bench.poll()
    shown = (bearer(bench.key), Context(x_api_key=bench.key))
    assert [bench.name(each) for each in shown] == ["ci", "ci"]
    bench.write("keys.txt", "\n".join(bench.lines[1:]))
    bench.poll()
    assert [bench.refusal(each) for each in shown] == ["The API key is not valid"] * 2
    assert bench.name(bearer(bench.root_key)) == "boss"


def test_a_token_is_refused_once_its_key_is_gone_though_it_is_known(bench: Bench) -> None:
    bench.poll()
    old, new = bearer(token()), bearer(token(kid="2", key=private_key("RS256", 1)))
    assert bench.name(old) == "ana"
    bench.write("set.json", key_set(jwk("RS256", private_key("RS256", 1), kid="2")))
    bench.poll()
    assert bench.name(new) == "ana"
    assert bench.refusal(old) == "The key of the token is not known"


def test_a_role_that_has_changed_counts_for_those_who_are_known(bench: Bench) -> None:
    bench.poll()
    before = bench.guard.identify(bearer(bench.key))
    assert bench.guard.may(before, Verb.PREDICT, "fraud")
    bench.write("auth.yaml", CONFIG.replace("fraud, ", ""))
    bench.poll()
    assert not bench.guard.may(bench.guard.identify(bearer(bench.key)), Verb.PREDICT, "fraud")
    assert not bench.guard.may(before, Verb.PREDICT, "fraud")  # of a stream that goes on, say


def test_a_revocation_under_load_lets_no_later_request_in(bench: Bench) -> None:
    """Requests go on while files change; after the poll that saw it, none is let in."""
    bench.poll()
    is_over = threading.Event()
    faults: list[BaseException] = []

    def ask() -> None:
        shown = bearer(bench.key)
        try:
            while not is_over.is_set():
                with suppress(Unauthenticated):
                    bench.guard.identify(shown)
        except BaseException as error:  # noqa: BLE001 - told below
            faults.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    for number in range(20):
        bench.write("keys.txt", "\n".join(bench.lines[number % 2 :]))
        bench.poll()
        if number % 2:
            assert bench.refusal(bearer(bench.key))
        else:
            assert bench.name(bearer(bench.key)) == "ci"
    is_over.set()
    thread.join()
    assert faults == []


# -- what ----------------------------------------------------------------------------------------


def allowed(bench: Bench, principal: Principal, verb: Verb, name: str | None) -> bool:
    try:
        bench.guard.permit(principal, verb, None if name is None else ServableRequest(name))
    except (PermissionDenied, Unauthenticated):
        return False
    return True


def test_a_role_permits_its_verbs_on_its_models(bench: Bench) -> None:
    scorer = bench.guard.identify(bearer(bench.key))
    found = {
        (verb.value, name)
        for verb in Verb
        for name in ("fraud", "digits-1", "other", None)
        if allowed(bench, scorer, verb, name)
    }
    every = ("fraud", "digits-1", "other", None)
    assert found == {
        *(("health", name) for name in every),  # what anybody may do
        *((verb, name) for verb in ("predict", "metadata") for name in ("fraud", "digits-1")),
        ("metadata", None),
    }


def test_a_role_of_all_models_may_administer_the_server(bench: Bench) -> None:
    root = bench.guard.identify(bearer(bench.root_key))
    assert all(allowed(bench, root, verb, None) for verb in Verb)


def test_nobody_may_what_anonymous_may_not(bench: Bench) -> None:
    nobody = bench.guard.identify(Context())
    bench.guard.permit(nobody, Verb.HEALTH, None)
    for verb in set(Verb) - {Verb.HEALTH}:
        with pytest.raises(Unauthenticated, match="Credentials are missing"):
            bench.guard.permit(nobody, verb, FRAUD)


def test_a_verb_is_had_with_whatever_model_and_as_the_rules_are_now(bench: Bench) -> None:
    nobody, scorer = bench.guard.identify(Context()), bench.guard.identify(bearer(bench.key))
    assert {verb for verb in Verb if bench.guard.has_verb(nobody, verb)} == {Verb.HEALTH}
    expected = {Verb.HEALTH, Verb.PREDICT, Verb.METADATA}
    assert {verb for verb in Verb if bench.guard.has_verb(scorer, verb)} == expected
    bench.poll()
    bench.write("auth.yaml", CONFIG.replace("verbs: [predict, metadata]", "verbs: [metrics]"))
    bench.poll()
    assert bench.guard.has_verb(scorer, Verb.METRICS)
    assert not bench.guard.has_verb(scorer, Verb.PREDICT)


def test_refusals_of_others_are_counted_as_its_own(bench: Bench) -> None:
    bench.guard.refused(PermissionDenied("no"))
    bench.guard.refused(PermissionDenied("no"))
    bench.guard.refused(Unauthenticated("no"))
    assert bench.counts() == {"denied": 2, "no_credentials": 1}


def test_a_token_without_a_role_may_do_what_anybody_may(bench: Bench) -> None:
    someone = bench.guard.identify(bearer(token(roles=["unknown"])))
    bench.guard.permit(someone, Verb.HEALTH, None)
    with pytest.raises(PermissionDenied, match="ana may not do this: predict of the model fraud"):
        bench.guard.permit(someone, Verb.PREDICT, FRAUD)


def test_without_a_word_on_anonymous_everything_takes_credentials(bench: Bench) -> None:
    bench.write("auth.yaml", CONFIG.replace("anonymous", "#"))
    guard = bench.make()
    assert not any(guard.may(guard.anonymous, verb, None) for verb in Verb)


# -- tokens whose keys are fetched ---------------------------------------------------------------


class Fetchers(KeyFetchers):
    """Has keys once they were asked for."""

    def __init__(self, publish: Any) -> None:
        super().__init__(publish)
        self.asked: list[str] = []
        self.answer: Future[None] | None = Future()
        self.is_full = False

    def fetched(self, url: str) -> "Future[None] | None":
        self.asked.append(url)
        if self.is_full:
            raise NoKeys("Very many wait")
        return self.answer

    def bring(self) -> None:
        from salver.access.key_sets import parse_key_set

        keys = parse_key_set(key_set(jwk("RS256", private_key("RS256"), kid="1")), "set")
        assert self._config is not None
        assert self.answer is not None
        self.configure(self._config, self._lines, {"https://issuer.example/jwks": keys})
        self.answer.set_result(None)


@pytest.fixture
def fetched(bench: Bench) -> tuple[Bench, Fetchers]:
    made: list[Fetchers] = []

    def make(publish: Any) -> Fetchers:
        made.append(Fetchers(publish))
        return made[-1]

    url = 'jwks_url: "https://issuer.example/jwks"'
    bench.write("auth.yaml", CONFIG.replace("jwks_file: set.json", url))
    bench.guard = bench.make(make)
    return bench, made[-1]


async def test_a_request_waits_for_keys_that_are_being_fetched(
    fetched: tuple[Bench, Fetchers],
) -> None:
    bench, fetchers = fetched
    shown = bearer(token())
    with pytest.raises(KeysAwaited) as caught:
        bench.guard.identify(shown)
    later = asyncio.ensure_future(bench.guard.identify_later(shown, caught.value))
    await asyncio.sleep(0)
    fetchers.bring()
    assert (await later).name == "ana"
    assert fetchers.asked == ["https://issuer.example/jwks"]
    assert bench.counts() == {}


async def test_keys_that_cannot_be_had_are_unavailable(fetched: tuple[Bench, Fetchers]) -> None:
    bench, fetchers = fetched
    fetchers.answer = None
    shown = bearer(token())
    with pytest.raises(Unavailable) as caught:
        bench.guard.identify(shown)
    assert isinstance(caught.value, KeysAwaited)
    with pytest.raises(Unavailable, match="The keys of the token's issuer cannot be had now"):
        await bench.guard.identify_later(shown, caught.value)
    assert bench.counts() == {"no_keys": 1}


async def test_a_request_that_is_one_too_many_to_wait_for_keys_is_refused_and_counted(
    fetched: tuple[Bench, Fetchers],
) -> None:
    bench, fetchers = fetched
    fetchers.is_full = True
    shown = bearer(token())
    with pytest.raises(KeysAwaited) as caught:
        bench.guard.identify(shown)
    with pytest.raises(Unavailable, match="Very many wait"):
        await bench.guard.identify_later(shown, caught.value)
    assert bench.counts() == {"no_keys": 1}


async def test_an_issuer_that_hangs_keeps_a_request_for_seconds_alone(
    fetched: tuple[Bench, Fetchers], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard_module, "_KEYS_S", 0.01)
    bench, _ = fetched
    shown = bearer(token())
    with pytest.raises(KeysAwaited) as caught:
        bench.guard.identify(shown)
    with pytest.raises(Unavailable):
        await bench.guard.identify_later(shown, caught.value)


async def test_a_key_that_stays_unknown_is_refused(fetched: tuple[Bench, Fetchers]) -> None:
    bench, fetchers = fetched
    fetchers.bring()
    shown = bearer(token(kid="7"))
    with pytest.raises(KeysAwaited) as caught:
        bench.guard.identify(shown)
    with pytest.raises(Unauthenticated, match="The key of the token is not known"):
        await bench.guard.identify_later(shown, caught.value)
    assert bench.counts() == {"wrong_credentials": 1}


async def test_a_client_that_leaves_ends_its_wait_alone(fetched: tuple[Bench, Fetchers]) -> None:
    bench, fetchers = fetched
    assert fetchers.answer is not None
    fetchers.answer.set_running_or_notify_cancel()
    shown = bearer(token())
    with pytest.raises(KeysAwaited) as caught:
        bench.guard.identify(shown)
    one, two = (
        asyncio.ensure_future(bench.guard.identify_later(shown, caught.value)) for _ in range(2)
    )
    await asyncio.sleep(0)
    one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one
    fetchers.bring()
    assert (await two).name == "ana"


# -- beside --------------------------------------------------------------------------------------


def test_each_decision_is_counted_once(bench: Bench) -> None:
    guard = bench.guard
    for context, verb in [
        (bearer(bench.key), Verb.PREDICT),
        (bearer(bench.key), Verb.PREDICT),
        (bearer(bench.key), Verb.ADMIN),
        (bearer("salver_x"), Verb.PREDICT),
        (bearer("a.b.c"), Verb.PREDICT),
        (Context(), Verb.PREDICT),
        (Context(), Verb.HEALTH),
    ]:
        with suppress(ServingError):
            guard.permit(guard.identify(context), verb, FRAUD)
    assert bench.counts() == {
        "allowed": 3,
        "no_credentials": 1,
        "wrong_credentials": 2,
        "denied": 1,
    }


def test_no_flag_is_no_guard() -> None:
    assert make_guard(None) is None


def test_a_guard_that_was_never_started_can_be_closed(bench: Bench) -> None:
    bench.make().close()
