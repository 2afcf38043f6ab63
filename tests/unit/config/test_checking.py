import pytest

from salver.config.checking import Finding, findings
from salver.config.models import ModelConfig
from salver.errors import InvalidArgument

_PLATFORMS = ("tensorflow",)


def _found(text: str, path: str) -> list[Finding]:
    return findings(text.encode(), path, _PLATFORMS)


def _text(model: str) -> str:
    return f"model_config_list {{\nconfig {{\n{model}\n}}\n}}"


@pytest.mark.parametrize("path", ["m.conf", "m.yaml"])
def test_nothing_is_wrong_with_a_file_that_is_right(path: str) -> None:
    text = (
        _text('name: "a" base_path: "a" model_platform: "tensorflow"')
        if path == "m.conf"
        else "models: [{name: a, base_path: a, model_platform: tensorflow}]"
    )
    assert _found(text, path) == []


_RIGHT = 'name: "a" base_path: "/a" model_platform: "tensorflow"'
_UNSUPPORTED = "(Platforms served here: tensorflow.)"


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("nme: 'a'", (3, 1, 'Message type "tensorflow.serving.ModelConfig" has no field named')),
        (f"{_RIGHT}\n}} config {{ {_RIGHT}", (4, 18, "Illegal to list model a multiple times")),
        (
            'name: "a"\nbase_path: "/a"\nmodel_platform: "tenzor"',
            (5, 17, f"Model a requests unsupported platform tenzor {_UNSUPPORTED}"),
        ),
        (
            'name: "a"\nbase_path: "/a"',
            (2, 1, "Illegal setting neither ModelServerConfig::model_type (deprecated) nor"),
        ),
        (
            'name: "a"\nmodel_platform: "tensorflow"',
            (2, 1, "Expected model a to have an absolute path or URI; got base_path()="),
        ),
        ('base_path: "/a"\nmodel_platform: "tensorflow"', (2, 1, "Model  has no name")),
        (
            f"{_RIGHT}\nmodel_version_policy {{ specific {{}} }}",
            (4, 24, "Model a asks for specific versions and names none"),
        ),
        (
            f"{_RIGHT}\nmodel_version_policy {{ specific {{ versions: 1 versions: -2 }} }}",
            (4, 57, "Model a asks for version -2"),
        ),
        (
            f"{_RIGHT}\nmodel_version_policy {{ specific {{ versions: 1 }} }}\n"
            "version_labels { key: 'b' value: 2 }",
            (5, 1, "Model a gives the label b to version 2, which it does not serve"),
        ),
        (
            f"{_RIGHT}\nversion_labels {{ key: 'b' value: -1 }}",
            (4, 1, "Model a gives the label b to version -1"),
        ),
        (
            f"{_RIGHT} salver {{\nisolation: 'prison' }}",
            (4, 12, "salver.isolation of model a must be none or process, not 'prison'"),
        ),
        (
            f"{_RIGHT} salver {{\nmax_queued_runs: -1 }}",
            (4, 18, "salver.max_queued_runs of model a must be from 0 up, not -1"),
        ),
    ],
)
def test_what_is_wrong_with_a_text_protobuf_is_told_with_its_place(
    model: str, expected: tuple[int, int, str]
) -> None:
    (found,) = _found(_text(model), "m.conf")
    assert (found.line, found.column) == expected[:2]
    assert found.text.startswith(expected[2])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("models:\n- nme: a", (2, 3, 'ModelConfig has no field "nme": did you mean name?')),
        (
            "models:\n- name: a\n  base_path: /a\n  model_platform: tenzor",
            (4, 19, f"Model a requests unsupported platform tenzor {_UNSUPPORTED}"),
        ),
        (
            "models:\n- name: a\n  model_platform: tensorflow",
            (2, 3, "Expected model a to have an absolute path or URI; got base_path()="),
        ),
        (
            "models:\n- {name: a, base_path: /a, model_platform: tensorflow}\n"
            "- {name: a, base_path: /b, model_platform: tensorflow}",
            (3, 10, "Illegal to list model a multiple times in config list"),
        ),
        (
            "models:\n- {name: a, base_path: /a, model_platform: tensorflow,\n"
            "   modelVersionPolicy: {specific: {versions: [3]}}, versionLabels: {b: 4}}",
            (3, 72, "Model a gives the label b to version 4, which it does not serve"),
        ),
        ("custom_model_config: {}", (1, 1, "ModelServer does not yet support custom model")),
        ("models: [\n", (2, 1, "")),
    ],
)
def test_what_is_wrong_with_yaml_is_told_with_its_place(
    text: str, expected: tuple[int, int, str]
) -> None:
    (found,) = _found(text, "m.yaml")
    assert (found.line, found.column) == expected[:2]
    assert found.text.startswith(expected[2])


def test_all_that_is_wrong_is_told_in_its_order() -> None:
    text = "models:\n- {name: a, base_path: /a, model_platform: x}\n- {name: a}"
    assert [(found.line, found.text.split()[0]) for found in _found(text, "m.yaml")] == [
        (2, "Model"), (3, "Expected"), (3, "Illegal"),
    ]  # fmt: skip


def test_options_are_checked_by_whoever_knows_them() -> None:
    text = (
        "models:\n- name: a\n  base_path: /a\n  model_platform: tensorflow\n"
        "  salver:\n    options: {x: 1}"
    )

    def check(model: ModelConfig) -> InvalidArgument | None:
        return InvalidArgument(f"no option {next(iter(model.options.options))}")

    found = findings(text.encode(), "m.yaml", _PLATFORMS, check)
    assert found == [Finding(6, 14, "no option x")]
