import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from tests.unit.instruments.test_signatures import keys

import salver.publishing
from salver.codecs.protobuf.predict_message import decode_predict_request
from salver.codecs.protobuf.prediction_log import LogKind, decode_prediction_log
from salver.errors import (
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ServingError,
    Unavailable,
)
from salver.instruments.manifest import MANIFEST, SIGNATURE, check_files, parse_manifest
from salver.instruments.signatures import read_public_keys
from salver.publishing import publish
from salver.publishing.places import Published, newest_version, versions_in
from salver.warmup.replay import REQUESTS_FILE
from salver.warmup.storing import read_file


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """What looks like a SavedModel."""
    version = tmp_path / "source"
    (version / "variables").mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"")
    (version / "variables" / "data").write_bytes(b"x")
    return version


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "base"


def names(base: Path) -> list[str]:
    return sorted(os.listdir(base))


def test_versions_are_counted_on(model: Path, base: Path) -> None:
    assert publish(model, base, check=False) == Published(1, base / "1")
    assert publish(model, str(base), check=False).version == 2
    (base / "00000010").mkdir()
    assert publish(model, base, check=False).version == 11
    assert names(base) == ["00000010", "1", "11", "2"]
    assert (base / "11" / "variables" / "data").read_bytes() == b"x"
    assert newest_version(base) == 11


def test_a_version_may_have_a_number_of_its_own_once(model: Path, base: Path) -> None:
    assert publish(model, base, version=7, check=False).version == 7
    with pytest.raises(AlreadyExists, match="has a version 7 already"):
        publish(model, base, version=7, check=False)
    with pytest.raises(InvalidArgument, match="A version is a number from 1, not 0"):
        publish(model, base, version=0, check=False)
    assert names(base) == ["7"]


def test_a_model_directory_gives_its_newest_version(model: Path, base: Path) -> None:
    publish(model, base, check=False)
    publish(model, base, check=False)
    (base / "2" / "mark").touch()
    (base / "9").mkdir()
    assert (publish(base, base, check=False).path / "mark").exists()


@pytest.mark.parametrize(
    ("name", "put"), [("m.tflite", "model.tflite"), ("m.keras", "m.keras"), ("m.h5", "m.h5")]
)
def test_files_are_published_too(tmp_path: Path, base: Path, name: str, put: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    path = publish(tmp_path / name, base, check=False).path
    assert names(path) == [put]
    assert (publish(path, base, check=False).path / put).read_bytes() == b"x"


def test_what_is_no_model_is_refused_and_leaves_nothing(tmp_path: Path, base: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match="holds no SavedModel"):
        publish(tmp_path / "empty", base)
    with pytest.raises(NotFound, match="There is no directory"):
        publish(tmp_path / "none", base)
    with pytest.raises(InvalidArgument, match="A int is no model"):
        publish(3, base)
    assert not base.exists()


@pytest.mark.parametrize("is_there", [False, True])
def test_a_version_that_does_not_pass_the_check_leaves_nothing(
    model: Path, base: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    if is_there:
        publish(model, base, check=False)
    seen: list[Any] = []

    def check(staging: Path, version: int, flags: object) -> None:
        assert flags == {}
        seen.append((staging.parent, names(staging), version))
        assert all(name.startswith(".") or name == "1" for name in names(base))
        raise Unavailable("it does not load")

    monkeypatch.setattr(salver.publishing, "check_version", check)
    with pytest.raises(Unavailable):
        publish(model, base)
    number = 1 + is_there
    assert seen == [(base, [str(number)], number)]
    assert base.exists() == is_there
    assert versions_in(base) == ({1} if is_there else set())


def test_publishers_do_not_collide(model: Path, base: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        done = list(threads.map(lambda _: publish(model, base, check=False).version, range(24)))
    assert sorted(done) == list(range(1, 25))
    assert versions_in(base) == set(range(1, 25))


def test_a_number_that_is_taken_meanwhile_is_not_replaced(
    model: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(*_: Any) -> None:
        (base / "1").mkdir()
        (base / "1" / "theirs").touch()

    monkeypatch.setattr(salver.publishing, "check_version", other)
    assert publish(model, base).version == 2
    assert names(base / "1") == ["theirs"]


def test_a_number_of_its_own_that_is_taken_meanwhile_is_told(
    model: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(salver.publishing, "check_version", lambda *_: (base / "7").touch())
    with pytest.raises(AlreadyExists):
        publish(model, base, version=7)
    assert names(base) == ["7"]


@pytest.mark.parametrize("blocker", ["file", "directory"])
def test_a_name_that_is_taken_unseen_is_passed_over(
    model: Path, base: Path, monkeypatch: pytest.MonkeyPatch, blocker: str
) -> None:
    base.mkdir(parents=True)
    if blocker == "file":
        (base / "1").touch()
    else:
        (base / "1").mkdir()
        (base / "1" / "theirs").touch()
    monkeypatch.setattr(salver.publishing.places, "versions_in", lambda _: set())
    assert publish(model, base, check=False).version == 2


def test_what_cannot_be_written_is_told(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServingError, match="file"):
        publish(model, tmp_path / "file" / "base", check=False)
    with pytest.raises(ServingError, match="file"):
        versions_in(tmp_path / "file")


def test_what_cannot_be_renamed_is_told(
    model: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(ServingError, match="No space left"):
        publish(model, base, check=False)
    assert not base.exists()


def test_what_cannot_be_copied_is_told(base: Path, model: Path) -> None:
    (model / "broken").symlink_to("nowhere")
    with pytest.raises(FailedPrecondition, match="cannot be copied"):
        publish(model, base, check=False)


def test_labels_become_an_asset(model: Path, base: Path, tmp_path: Path) -> None:
    path = publish(model, base, labels=["cat", "Hündin"], check=False).path
    assert (path / "assets" / "labels.txt").read_text() == "cat\nHündin\n"
    (tmp_path / "labels.json").write_text('["a"]')
    path = publish(path, base, labels=tmp_path / "labels.json", check=False).path
    assert (path / "assets" / "labels.txt").read_text() == '["a"]'
    with pytest.raises(InvalidArgument, match="A label is one line"):
        publish(model, base, labels=["a\nb"], check=False)
    with pytest.raises(NotFound):
        publish(model, base, labels=tmp_path / "none", check=False)


# -- what it says of itself ------------------------------------------------------------------------


def described(value: Any) -> dict[str, Any]:
    return {"signatures": {"serving_default": {"inputs": {"x": value}}}}


def test_what_a_model_says_of_itself_becomes_an_asset(model: Path, base: Path) -> None:
    path = publish(model, base, about={"title": "Digits"}, check=False).path
    assert (path / "assets" / "salver.json").read_text() == '{"title": "Digits"}'


def test_what_it_says_wrongly_is_refused_and_nothing_is_left(model: Path, base: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"inputs\.x\.kind: one of image"):
        publish(model, base, about=described({"kind": "img"}), check=False)
    assert not base.exists()


def test_what_it_says_of_things_it_has_not_is_refused(
    version_path: Callable[[str], Path], base: Path
) -> None:
    half = version_path("half_plus_two")
    publish(half, base, about=described({"unit": "m"}), check=False)
    about = {
        "signatures": {"serving_default": {"inputs": {"z": {"unit": ""}}, "outputs": {"w": {}}}}
    }
    with pytest.raises(InvalidArgument, match=r"no such input; it has 'x'") as refusal:
        publish(half, base, about=about, check=False)
    assert refusal.value.hint is not None
    assert refusal.value.hint.endswith("has no such output; it has 'y'")
    assert names(base) == ["1"]


def test_what_is_not_known_is_warned_of(model: Path, base: Path) -> None:
    with pytest.warns(UserWarning, match=r"salver\.json: colour is not known, and left out"):
        publish(model, base, about={"colour": 1}, check=False)


# -- warmup ----------------------------------------------------------------------------------------


class KerasModel:
    """Stands in for a live model; the real ones are tried in tests/integration."""

    def export(self, path: str) -> None:
        Path(path).mkdir()
        Path(path, "saved_model.pb").touch()


def test_a_live_model_is_exported(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keras = ModuleType("keras")
    keras.Model = KerasModel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keras", keras)
    assert names(publish(KerasModel(), base, check=False).path) == ["saved_model.pb"]


def asked(path: Path) -> list[Any]:
    logged = [decode_prediction_log(record) for record in read_file(path / REQUESTS_FILE)]
    return [(of.kind, decode_predict_request(of.request)) for of in logged if of is not None]


def test_warmup_requests_are_inputs_or_bodies(
    version_path: Callable[[str], Path], tmp_path: Path
) -> None:
    requests = [[1.0, 2.0], {"x": np.ones(1)}, '{"instances": [1]}', b'{"inputs": [1]}']
    base = tmp_path / "half"
    path = publish(version_path("half_plus_two"), base, warmup=requests, check=False).path
    records = asked(path)
    assert [kind for kind, _ in records] == [LogKind.PREDICT] * 4
    assert {message.spec.name for _, message in records} == {"half"}
    path = publish(path, base, warmup=True, check=False).path
    assert len(list(read_file(path / REQUESTS_FILE))) > 1


def test_a_tflite_model_is_warmed_up_too(
    version_path: Callable[[str], Path], tmp_path: Path
) -> None:
    path = publish(version_path("lite_metadata"), tmp_path / "m", warmup=True, check=False).path
    assert asked(path)


def test_the_graph_for_serving_is_warmed_up(
    version_path: Callable[[str], Path], tmp_path: Path
) -> None:
    path = publish(version_path("two_tags"), tmp_path / "m", warmup=[[1.0]], check=False).path
    assert len(asked(path)) == 1


@pytest.mark.parametrize(
    ("name", "warmup", "message"),
    [
        ("half_plus_two", ["{}"], "'instances'|inputs"),
        ("half_plus_two", [["a"]], "takes float, not strings"),
        ("half_plus_two", "text", "warmup is a list of requests, or True"),
        ("every_dtype", [[1.0]], "The model has no signature serving_default"),
    ],
)
def test_a_warmup_request_that_the_model_does_not_take_is_refused(
    version_path: Callable[[str], Path], tmp_path: Path, name: str, warmup: Any, message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        publish(version_path(name), tmp_path / "m", warmup=warmup, check=False)
    assert not (tmp_path / "m").exists()


def test_signatures_of_which_no_request_can_be_made_are_told(
    version_path: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(salver.publishing.contents, "default_records", lambda _: iter(()))
    with pytest.raises(InvalidArgument, match="No warmup request can be made"):
        publish(version_path("half_plus_two"), tmp_path / "m", warmup=True, check=False)


def test_a_keras_file_has_no_signatures_to_warm_up(tmp_path: Path) -> None:
    (tmp_path / "m.keras").touch()
    with pytest.raises(
        InvalidArgument, match="cannot be made for a Keras model: only a load tells"
    ):
        publish(tmp_path / "m.keras", tmp_path / "m", warmup=True, check=False)


def test_no_requests_make_no_file(model: Path, base: Path) -> None:
    assert not (publish(model, base, warmup=[], check=False).path / REQUESTS_FILE).exists()


@pytest.mark.parametrize("version", [True, "8", 0, 2**63])
def test_a_version_is_a_number_that_servers_take(tmp_path: Path, version: Any) -> None:
    with pytest.raises(InvalidArgument, match="A version is a number from 1, not "):
        publish(tmp_path, tmp_path / "models", version=version)
    assert not (tmp_path / "models").exists()


def test_a_model_that_is_read_only_can_be_published_and_changed(model: Path, base: Path) -> None:
    (model / "assets").mkdir(exist_ok=True)
    for path in (*model.rglob("*"), model):
        path.chmod(0o555)
    version = publish(model, base, labels=["cat"], check=False).path
    assert all(path.stat().st_mode & 0o200 for path in (version, *version.rglob("*")))


def test_a_file_of_labels_that_is_not_there_is_named_and_nothing_is_left(
    model: Path, tmp_path: Path
) -> None:
    with pytest.raises(NotFound, match=r"nowhere\.txt; No such file"):
        publish(model, tmp_path / "a" / "b", labels="nowhere.txt", check=False)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "more", [{"labels": 3}, {"labels": ["\udcff"]}, {"labels": ["a\nb"]}, {"warmup": 3}]
)
def test_what_is_no_list_is_refused(model: Path, base: Path, more: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=r"Labels are a list|A label is|warmup is a list"):
        publish(model, base, check=False, **more)


def test_a_model_without_a_graph_cannot_be_warmed_up(model: Path, base: Path) -> None:
    with pytest.raises(InvalidArgument, match="holds no graph that could be warmed up"):
        publish(model, base, check=False, warmup=True)


# -- live models of other libraries ----------------------------------------------------------------


def double(x: float) -> float:
    return x * 2


class _Broken:
    __module__ = "xgboost.core"

    def save_model(self, path: str) -> None:
        Path(path).write_bytes(b"half")
        raise RuntimeError("the disk is full")


_Broken.__name__ = "Booster"


class _Named(_Broken):
    """A fitted classifier of XGBoost."""

    __module__ = "xgboost.sklearn"
    feature_names = ("age", "income")
    classes_ = np.array(["no", "yes"])

    def save_model(self, path: str) -> None:
        Path(path).write_bytes(b"model")


def test_a_function_is_published_by_its_source(base: Path) -> None:
    path = publish(double, base, check=False).path
    assert names(path) == ["model.py"]
    assert "return x * 2" in (path / "model.py").read_text()


def test_what_a_model_says_of_itself_comes_with_it(base: Path) -> None:
    path = publish(_Named(), base, check=False).path
    assert (path / "assets" / "labels.txt").read_text() == "no\nyes\n"
    assert '"names": ["age", "income"]' in (path / "assets" / "salver.json").read_text()


def test_what_the_caller_says_goes_before_that(base: Path) -> None:
    about = {"title": "Loans"}
    path = publish(_Named(), base, check=False, labels=["good", "bad"], about=about).path
    assert (path / "assets" / "labels.txt").read_text() == "good\nbad\n"
    assert "age" not in (path / "assets" / "salver.json").read_text()


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize(
    ("thing", "text"),
    [
        (lambda x: x, "A lambda has no source"),
        (_Broken(), "XGBoost cannot write the model: the disk is full"),
        (len, "has no source of its own"),
        (np.zeros((1000, 1000)), "A ndarray is no model"),
    ],
)
def test_what_cannot_be_exported_leaves_nothing(
    thing: Any, text: str, model: Path, base: Path, is_there: bool
) -> None:
    if is_there:
        publish(model, base, check=False)
    with pytest.raises(InvalidArgument, match=text):
        publish(thing, base)
    assert base.exists() == is_there
    if is_there:
        assert names(base) == ["1"]


def test_types_are_not_to_be_said_of_a_path(model: Path, base: Path) -> None:
    with pytest.raises(InvalidArgument, match="inputs and outputs are not to be said of a path"):
        publish(model, base, inputs={"x": float})


def test_one_file_of_several_is_published_with_what_belongs_to_it(
    tmp_path: Path, base: Path
) -> None:
    for name in ("a.pt2", "b.pt2", "b.pt2.data"):
        (tmp_path / name).write_text(name)
    path = publish(tmp_path / "b.pt2", base, check=False).path
    assert names(path) == ["b.pt2.data", "model.pt2"]
    assert (path / "model.pt2").read_text() == "b.pt2"


def test_sums_are_written_where_they_are_asked_for_and_signed_by_a_key(
    model: Path, base: Path, tmp_path: Path
) -> None:
    assert not (publish(model, base, check=False).path / MANIFEST).exists()
    path = publish(model, base, check=False, labels=["a"], manifest=True).path
    check_files(path, parse_manifest((path / MANIFEST).read_bytes()))
    assert not (path / SIGNATURE).exists()
    private, public = keys(tmp_path / "keys")
    path = publish(model, base, check=False, sign_key=private).path
    content = (path / MANIFEST).read_bytes()
    read_public_keys(public).check(content, (path / SIGNATURE).read_bytes())


def test_a_key_that_cannot_be_used_is_told_before_anything_is_done(
    model: Path, base: Path, tmp_path: Path
) -> None:
    with pytest.raises(ServingError, match="No such file"):
        publish(model, base, check=False, sign_key=tmp_path / "none")
    assert not base.exists()


def test_sums_that_come_with_a_path_are_compared_kept_and_made_anew_for_what_is_added(
    model: Path, base: Path, tmp_path: Path
) -> None:
    private, _ = keys(tmp_path / "keys")
    signed = publish(model, base, check=False, sign_key=private).path
    again = publish(signed, base, check=False).path
    for name in (MANIFEST, SIGNATURE):
        assert (again / name).read_bytes() == (signed / name).read_bytes()
    labelled = publish(signed, base, check=False, labels=["a"]).path
    assert "assets/labels.txt" in parse_manifest((labelled / MANIFEST).read_bytes())
    assert not (labelled / SIGNATURE).exists()
    (signed / "more").touch()
    with pytest.raises(DataLoss):
        publish(signed, base, check=False)
