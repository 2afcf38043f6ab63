from salver.server.readiness import Readiness


class Models:
    """Models that wait, each with what keeps it."""

    def __init__(self, **waiting: str | None) -> None:
        self.waiting = waiting
        self.names = tuple(waiting)

    def model_names(self) -> tuple[str, ...]:
        return self.names

    def waiting_models(self) -> tuple[str, ...]:
        return tuple(self.waiting)

    def problem(self, name: str) -> str | None:
        return self.waiting[name]


def test_a_server_whose_models_are_all_up_is_ready() -> None:
    models = Models()
    readiness = Readiness(models)
    assert readiness.problem() == "starting"
    readiness.is_started = True
    assert readiness.problem() is None
    readiness.is_draining = True
    assert readiness.problem() == "draining"


def test_models_without_a_version_are_named_with_what_keeps_them() -> None:
    readiness = Readiness(Models(a=None, b="Install it with:\n  pip install x"))
    assert readiness.problem() == (
        "no version is available of: a, b (Install it with: pip install x)"
    )


def test_of_many_models_and_words_some_are_left_out() -> None:
    readiness = Readiness(Models(**{f"m{number}": "x" * 1000 for number in range(9)}))
    problem = readiness.problem()
    assert problem is not None
    assert problem.endswith(f"m7 ({'x' * 300}…), m8")
