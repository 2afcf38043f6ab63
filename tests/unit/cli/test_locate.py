import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from salver.cli.locate import Located, NotServed, given_path, locate_models, locate_version
from salver.errors import InvalidArgument, NotFound, PermissionDenied, ServingError
from salver.vocabulary.servable import Latest, Specific


def _saved_model(path: Path, name: str = "saved_model.pb") -> Path:
    path.mkdir(parents=True)
    (path / name).touch()
    return path


@pytest.fixture
def scratch(tmp_path: Path) -> Callable[[], Path]:
    made: list[Path] = []

    def make() -> Path:
        path = tmp_path / f"scratch{len(made)}"
        path.mkdir()
        made.append(path)
        return path

    return make


Scratch = Callable[[], Path]


def test_a_model_directory_is_one_model(tmp_path: Path, scratch: Scratch) -> None:
    _saved_model(tmp_path / "digits" / "1")
    (model,) = locate_models([str(tmp_path / "digits")], scratch)
    assert (model.name, model.base_path) == ("digits", str(tmp_path / "digits"))
    assert model.version_policy == Latest()
    assert model.model_platform == "tensorflow"


def test_a_text_saved_model_counts_too(tmp_path: Path, scratch: Scratch) -> None:
    _saved_model(tmp_path / "digits" / "1", "saved_model.pbtxt")
    assert len(locate_models([str(tmp_path / "digits")], scratch)) == 1


def test_a_relative_path_and_a_trailing_slash_are_fine(
    tmp_path: Path, scratch: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    _saved_model(tmp_path / "digits" / "1")
    monkeypatch.chdir(tmp_path / "digits")
    for argument in (".", "../digits/", "./"):
        (model,) = locate_models([argument], scratch)
        assert (model.name, model.base_path) == ("digits", str(tmp_path / "digits"))


def test_one_version_is_served_alone(tmp_path: Path, scratch: Scratch) -> None:
    _saved_model(tmp_path / "digits" / "1")
    _saved_model(tmp_path / "digits" / "0003")
    (model,) = locate_models([str(tmp_path / "digits" / "0003")], scratch)
    assert (model.name, model.base_path) == ("digits", str(tmp_path / "digits"))
    assert model.version_policy == Specific((3,))


def test_any_other_saved_model_becomes_version_1(tmp_path: Path, scratch: Scratch) -> None:
    path = _saved_model(tmp_path / "exported")
    (model,) = locate_models([str(path)], scratch)
    assert model.name == "exported"
    assert (Path(model.base_path) / "1").resolve() == path
    assert (Path(model.base_path) / "1" / "saved_model.pb").is_file()


def test_a_directory_of_models_is_all_of_them(tmp_path: Path, scratch: Scratch) -> None:
    _saved_model(tmp_path / "models" / "b" / "1")
    _saved_model(tmp_path / "models" / "a" / "7")
    _saved_model(tmp_path / "models" / "plain")
    (tmp_path / "models" / "notes").mkdir()
    (tmp_path / "models" / "README").touch()
    models = locate_models([str(tmp_path / "models")], scratch)
    assert [model.name for model in models] == ["a", "b", "plain"]


def test_a_model_can_be_given_a_name(tmp_path: Path, scratch: Scratch) -> None:
    _saved_model(tmp_path / "digits" / "1")
    path = _saved_model(tmp_path / "exported")
    models = locate_models([f"x={tmp_path}/digits", f"y={path}", f"z={tmp_path}/digits/1"], scratch)
    assert [model.name for model in models] == ["x", "y", "z"]


def test_a_path_with_an_equals_sign_is_a_path_when_it_exists(
    tmp_path: Path, scratch: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    _saved_model(tmp_path / "lr=0.1" / "1")
    monkeypatch.chdir(tmp_path)
    assert locate_models(["lr=0.1"], scratch)[0].name == "lr=0.1"
    assert locate_models([f"{tmp_path}/lr=0.1"], scratch)[0].name == "lr=0.1"
    assert locate_models([f"m={tmp_path}/lr=0.1"], scratch)[0].name == "m"


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://bucket/nets/net.onnx", "net"),
        ("gs://bucket/net.tflite", "net"),
        ("s3://bucket/v1.2", "v1.2"),
        ("s3://bucket/net.onnx/3", "net.onnx"),
        ("s3://bucket.pt", "bucket.pt"),
        ("hf://owner/net.onnx", "net.onnx"),
    ],
)
def test_a_file_in_a_bucket_gives_its_model_a_name_without_its_ending(
    scratch: Scratch, uri: str, name: str
) -> None:
    (model,) = locate_models([uri], scratch)
    assert model.name == name


def test_the_models_below_a_uri_are_all_of_them(scratch: Scratch) -> None:
    def below(uri: str) -> dict[str, str]:
        return {"a": f"{uri}/a", "b": f"{uri}/b"} if uri == "s3://bucket/shelf" else {}

    models = locate_models(["s3://bucket/shelf", "s3://bucket/c"], scratch, below=below)
    assert [(model.name, model.base_path) for model in models] == [
        ("a", "s3://bucket/shelf/a"),
        ("b", "s3://bucket/shelf/b"),
        ("c", "s3://bucket/c"),
    ]
    (one,) = locate_models(["one=s3://bucket/shelf"], scratch, below=below)
    assert (one.name, one.base_path) == ("one", "s3://bucket/shelf")


@pytest.mark.parametrize(
    ("argument", "name"),
    [("gs://bucket/digits/", "digits"), ("m=gs://bucket/digits", "m")],
)
def test_a_uri_is_passed_on(argument: str, name: str, scratch: Scratch) -> None:
    (model,) = locate_models([argument], scratch)
    assert model.name == name
    assert model.base_path.startswith("gs://bucket/digits")


@pytest.mark.parametrize("name", ["", "a:b"])
def test_a_name_that_no_url_can_hold_is_refused(
    name: str, tmp_path: Path, scratch: Scratch
) -> None:
    _saved_model(tmp_path / "digits" / "1")
    with pytest.raises(InvalidArgument, match="cannot be the name of a model"):
        locate_models([f"{name}={tmp_path}/digits"], scratch)


def test_a_missing_path_is_not_found(tmp_path: Path, scratch: Scratch) -> None:
    with pytest.raises(NotFound) as caught:
        locate_models([str(tmp_path / "absent")], scratch)
    assert caught.value.message == f"There is no directory {tmp_path}/absent."


def test_an_empty_directory_is_said_to_be_empty(tmp_path: Path, scratch: Scratch) -> None:
    with pytest.raises(NotFound) as caught:
        locate_models([str(tmp_path)], scratch)
    assert caught.value.message == f"{tmp_path} is empty."


def test_what_is_there_instead_is_named(tmp_path: Path, scratch: Scratch) -> None:
    for name in ("1", "v2"):
        (tmp_path / "m" / name).mkdir(parents=True)
    with pytest.raises(NotFound) as caught:
        locate_models([f"x={tmp_path}/m"], scratch)
    assert caught.value.message == f"{tmp_path}/m holds no model, only: 1/, v2/."
    assert caught.value.hint is not None
    assert "MODEL/1/saved_model.pb" in caught.value.hint


def test_a_long_list_is_cut(tmp_path: Path, scratch: Scratch) -> None:
    for number in range(9):
        (tmp_path / f"f{number}").touch()
    with pytest.raises(NotFound, match=r"f0, f1, f2, f3, f4, f5, f6, f7, \.\.\.\."):
        locate_models([str(tmp_path)], scratch)


def test_files_of_other_kinds_come_with_advice(tmp_path: Path, scratch: Scratch) -> None:
    for name in ("model.keras", "other.h5"):
        (tmp_path / name).touch()
    with pytest.raises(NotFound) as caught:
        locate_models([f"one={tmp_path}"], scratch)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("model.keras: serve the file itself, or ")


def test_a_file_is_not_a_directory(tmp_path: Path, scratch: Scratch) -> None:
    path = _saved_model(tmp_path / "m") / "saved_model.pb"
    with pytest.raises(NotFound) as caught:
        locate_models([str(path)], scratch)
    assert caught.value.message == f"{path} is a file, not a directory with a SavedModel."
    assert caught.value.hint == f"Perhaps {tmp_path / 'm'} is meant."


CORE_ML = (
    "m.mlmodel is a Core ML model, which is not served. It cannot be converted back: export the "
    "model it was made of as a SavedModel, a Keras file or a TFLite file, and serve that."
)


def test_a_file_of_a_format_that_is_not_served_comes_with_its_conversion(
    tmp_path: Path, scratch: Scratch
) -> None:
    (tmp_path / "m.mlmodel").touch()
    with pytest.raises(NotServed) as caught:
        locate_models([str(tmp_path / "m.mlmodel")], scratch)
    assert caught.value.message == f"{tmp_path}/m.mlmodel cannot be served: {CORE_ML}"
    assert caught.value.hint is None


@pytest.mark.parametrize("where", ["m", "m/1"])
def test_so_does_a_directory_of_such_files(where: str, tmp_path: Path, scratch: Scratch) -> None:
    (tmp_path / where).mkdir(parents=True)
    (tmp_path / where / "m.mlmodel").touch()
    with pytest.raises(NotServed) as caught:
        locate_models([str(tmp_path / "m")], scratch)
    assert caught.value.message == f"{tmp_path}/m holds no model that is served here: {CORE_ML}"


def test_of_many_such_files_some_are_left_out(tmp_path: Path, scratch: Scratch) -> None:
    for number in range(9):
        (tmp_path / f"m{number}.mlmodel").touch()
    with pytest.raises(NotServed) as caught:
        locate_models([str(tmp_path)], scratch)
    assert caught.value.message.count("is a Core ML model") == 3


def test_what_cannot_be_served_is_told_of_where_other_models_can(
    tmp_path: Path, scratch: Scratch
) -> None:
    told: list[str] = []

    def warn(error: ServingError) -> None:
        told.append(error.message)

    (tmp_path / "m.mlmodel").touch()
    _saved_model(tmp_path / "zoo" / "good" / "1")
    (tmp_path / "zoo" / "bad" / "1").mkdir(parents=True)
    (tmp_path / "zoo" / "bad" / "1" / "m.mlmodel").touch()
    (tmp_path / "zoo" / "notes").mkdir()
    paths = [str(tmp_path / "m.mlmodel"), str(tmp_path / "zoo")]
    (model,) = locate_models(paths, scratch, warn)
    assert model.name == "good"
    assert told == [
        f"{tmp_path}/m.mlmodel cannot be served: {CORE_ML}",
        f"{tmp_path}/zoo/bad holds no model that is served here: {CORE_ML}",
    ]
    assert [model.name for model in locate_models(paths, scratch)] == ["good"]


def test_where_nothing_can_be_served_all_are_told_of(tmp_path: Path, scratch: Scratch) -> None:
    told: list[ServingError] = []
    for name in ("a.pth", "b.gguf"):
        (tmp_path / name).touch()
    with pytest.raises(NotServed, match=r"b\.gguf is a language model"):
        locate_models([str(tmp_path / "a.pth"), str(tmp_path / "b.gguf")], scratch, told.append)
    (first,) = told
    assert "a.pth is what torch.save writes" in first.message


def test_a_directory_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> list[Path]:
        raise PermissionError(errno.EACCES, "no", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)  # root may read everything
    with pytest.raises(PermissionDenied) as caught:
        locate_version(tmp_path)
    assert caught.value.message == f"{tmp_path}; Permission denied"


def test_a_link_is_kept_as_it_is(tmp_path: Path, scratch: Scratch) -> None:
    _saved_model(tmp_path / "digits" / "1")
    (tmp_path / "current").symlink_to(tmp_path / "digits")
    (model,) = locate_models([str(tmp_path / "current")], scratch)
    assert (model.name, model.base_path) == ("current", str(tmp_path / "current"))


def test_a_saved_model_is_found_where_it_stands(tmp_path: Path) -> None:
    path = _saved_model(tmp_path / "exported")
    assert locate_version(path) == Located(path, None)


def test_the_newest_version_of_a_model_directory_is_found(tmp_path: Path) -> None:
    for name in ("2", "10", "9"):
        _saved_model(tmp_path / "m" / name)
    (tmp_path / "m" / "11").mkdir()
    assert locate_version(tmp_path / "m") == Located(tmp_path / "m" / "10", 10)
    assert locate_version(tmp_path / "m" / "9") == Located(tmp_path / "m" / "9", 9)


def test_a_directory_of_models_is_no_single_saved_model(tmp_path: Path) -> None:
    _saved_model(tmp_path / "m" / "1")
    with pytest.raises(NotFound, match="holds no model, only: m/"):
        locate_version(tmp_path)


def test_a_directory_with_a_tflite_file_is_as_good_as_a_saved_model(
    tmp_path: Path, scratch: Scratch
) -> None:
    _saved_model(tmp_path / "lite" / "2", "model.tflite")
    (model,) = locate_models([str(tmp_path / "lite")], scratch)
    assert (model.name, model.base_path) == ("lite", str(tmp_path / "lite"))
    assert locate_version(tmp_path / "lite") == Located(tmp_path / "lite" / "2", 2)


@pytest.mark.parametrize(("prefix", "name"), [("", "mobile"), ("m=", "m")])
def test_a_tflite_file_becomes_version_1(
    prefix: str, name: str, tmp_path: Path, scratch: Scratch
) -> None:
    file = tmp_path / "mobile.tflite"
    file.write_bytes(b"model")
    (model,) = locate_models([f"{prefix}{file}"], scratch)
    assert model.name == name
    assert (Path(model.base_path) / "1" / "model.tflite").read_bytes() == b"model"


@pytest.mark.parametrize("name", ["digits.keras", "digits.tflite", "plain"])
def test_what_a_made_directory_stands_for_is_known(
    name: str, tmp_path: Path, scratch: Scratch
) -> None:
    given = tmp_path / name
    if given.suffix:
        given.write_bytes(b"model")
    else:
        given.mkdir()
        (given / "saved_model.pb").touch()
    (tmp_path / "assets").mkdir()
    (model,) = locate_models([str(given)], scratch)
    assert given_path(Path(model.base_path)) == given


@pytest.mark.parametrize("name", ["digits.keras", "digits.h5"])
def test_a_keras_file_becomes_version_1_with_what_stands_beside_it(
    name: str, tmp_path: Path, scratch: Scratch
) -> None:
    file = tmp_path / name
    file.write_bytes(b"model")
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "labels.txt").write_text("zero")
    (model,) = locate_models([str(file)], scratch)
    version = Path(model.base_path) / "1"
    assert model.name == "digits"
    assert sorted(child.name for child in version.iterdir()) == ["assets", name]
    assert (version / name).read_bytes() == b"model"
    assert (version / "assets" / "labels.txt").read_text() == "zero"


def test_a_directory_with_one_keras_file_is_as_good_as_a_saved_model(
    tmp_path: Path, scratch: Scratch
) -> None:
    _saved_model(tmp_path / "digits" / "2", "model.keras")
    (model,) = locate_models([str(tmp_path / "digits")], scratch)
    assert (model.name, model.base_path) == ("digits", str(tmp_path / "digits"))
    (model,) = locate_models([str(tmp_path / "digits" / "2")], scratch)
    assert (model.name, model.version_policy) == ("digits", Specific((2,)))
    _saved_model(tmp_path / "plain", "model.h5")
    (model,) = locate_models([str(tmp_path / "plain")], scratch)
    assert (Path(model.base_path) / "1" / "model.h5").exists()


def test_versions_come_before_a_keras_file_beside_them(tmp_path: Path, scratch: Scratch) -> None:
    _saved_model(tmp_path / "digits", "backup.h5")
    _saved_model(tmp_path / "digits" / "3")
    (model,) = locate_models([str(tmp_path / "digits")], scratch)
    assert model.base_path == str(tmp_path / "digits")
    assert locate_version(tmp_path / "digits").version == 3


def test_a_version_with_two_keras_files_is_one_nevertheless_and_will_say_so(
    tmp_path: Path, scratch: Scratch
) -> None:
    _saved_model(tmp_path / "digits" / "1", "a.keras")
    (tmp_path / "digits" / "1" / "b.keras").touch()
    (model,) = locate_models([str(tmp_path / "digits")], scratch)
    assert model.base_path == str(tmp_path / "digits")


# -- files of many kinds ---------------------------------------------------------------------------


def touch(directory: Path, *names: str) -> None:
    directory.mkdir(exist_ok=True)
    for name in names:
        (directory / name).touch()


def test_a_directory_of_files_and_directories_is_all_of_them(
    tmp_path: Path, scratch: Scratch
) -> None:
    zoo = tmp_path / "zoo"
    touch(zoo, "net.pt2", "flowers.keras", "lite.tflite", "README.md")
    _saved_model(zoo / "digits" / "1")
    models = locate_models([str(zoo)], scratch)
    assert [model.name for model in models] == ["digits", "flowers", "lite", "net"]
    version = Path(models[-1].base_path) / "1"
    assert [child.name for child in version.iterdir()] == ["model.pt2"]
    assert given_path(version.parent) == zoo / "net.pt2"


def test_what_stands_beside_belongs_to_none_of_several(tmp_path: Path, scratch: Scratch) -> None:
    touch(tmp_path / "zoo", "a.pt2", "b.tflite")
    (tmp_path / "zoo" / "assets").mkdir()
    models = locate_models([str(tmp_path / "zoo")], scratch)
    assert len(models) == 2
    assert not any((Path(model.base_path) / "1" / "assets").exists() for model in models)


def test_a_directory_goes_before_a_file_of_its_name(tmp_path: Path, scratch: Scratch) -> None:
    touch(tmp_path / "zoo", "digits.tflite", "half.tflite")
    _saved_model(tmp_path / "zoo" / "digits" / "1")
    models = locate_models([str(tmp_path / "zoo")], scratch)
    assert [model.name for model in models] == ["digits", "half"]
    assert models[0].base_path == str(tmp_path / "zoo" / "digits")


def test_two_files_of_one_name_are_named(tmp_path: Path, scratch: Scratch) -> None:
    touch(tmp_path / "zoo", "net.pt2", "net.tflite", "other.tflite")
    with pytest.raises(InvalidArgument, match=r"net\.pt2 and net\.tflite would both be the model"):
        locate_models([str(tmp_path / "zoo")], scratch)


def test_two_arguments_of_one_name_are_refused_with_advice(
    tmp_path: Path, scratch: Scratch
) -> None:
    touch(tmp_path / "a", "net.tflite")
    touch(tmp_path / "b", "net.pt2")
    with pytest.raises(InvalidArgument) as caught:
        locate_models([f"{tmp_path}/a/net.tflite", f"{tmp_path}/b/net.pt2"], scratch)
    assert caught.value.message == "Illegal to list model net multiple times in config list"
    assert caught.value.hint == "Give one of them another name: NAME=PATH."


@pytest.mark.parametrize("whole", ["saved_model.pb", "model.py"])
def test_files_beside_a_model_of_several_files_are_no_models(
    whole: str, tmp_path: Path, scratch: Scratch
) -> None:
    touch(tmp_path / "net", whole, "first.tflite", "second.pt2")
    try:
        models = locate_models([str(tmp_path / "net")], scratch)
    except NotFound:  # no backend of Python models is installed
        return
    assert [model.name for model in models] == ["net"]


def test_one_file_in_a_directory_has_the_directorys_name(tmp_path: Path, scratch: Scratch) -> None:
    touch(tmp_path / "digits", "net.pt2", "notes.txt")
    (tmp_path / "digits" / "notes").mkdir()
    (model,) = locate_models([str(tmp_path / "digits")], scratch)
    assert model.name == "digits"


def test_a_file_is_looked_into_in_a_directory_of_its_own(tmp_path: Path) -> None:
    touch(tmp_path, "a.tflite", "b.tflite")
    located = locate_version(tmp_path / "b.tflite")
    assert located.found[0].shown == f"TFLite model at {tmp_path}/b.tflite"
    with located.to_read() as (found,):
        (link,) = found.path.iterdir()
        assert (link.name, link.readlink()) == ("model.tflite", tmp_path / "b.tflite")
        made = found.path
    assert not made.exists()


def test_an_error_names_the_file_that_was_given(tmp_path: Path) -> None:
    touch(tmp_path, "a.tflite", "b.tflite")
    with (
        pytest.raises(NotFound) as caught,
        locate_version(tmp_path / "b.tflite").to_read() as (found,),
    ):
        raise NotFound(f"{found.path}/model.tflite is no model")
    assert caught.value.message == f"{tmp_path}/b.tflite is no model"
