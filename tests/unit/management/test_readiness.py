from salver.management.readiness import Readiness


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


def test_one_that_stays_ready_says_no_until_it_has_said_yes_and_when_it_drains() -> None:
    models, settled = Models(a=None), []
    readiness = Readiness(models, stays=True, on_settled=lambda: settled.append(True))
    readiness.is_started = True
    assert readiness.problem() == "no version is available of: a"
    models.waiting = {}
    assert readiness.problem() is None
    models.waiting = {"a": None, "added": "it does not load"}
    assert readiness.problem() is None
    assert settled == [True]
    readiness.is_draining = True
    assert readiness.problem() == "draining"


def test_one_that_stays_ready_is_not_so_by_what_it_says_before_it_has_started() -> None:
    models = Models(a=None)
    readiness = Readiness(models, stays=True)
    models.waiting = {}
    assert readiness.problem() is None
    models.waiting = {"a": None}
    assert readiness.problem() is not None


def test_one_that_stays_ready_is_so_from_the_start_though_nobody_has_asked() -> None:
    models = Models()
    readiness = Readiness(models, stays=True)
    readiness.start()
    models.waiting = {"added": None}
    assert readiness.problem() is None


def test_one_that_does_not_stay_so_says_no_while_a_model_that_was_added_loads() -> None:
    models = Models()
    readiness = Readiness(models)
    readiness.is_started = True
    assert readiness.problem() is None
    models.waiting = {"added": None}
    assert readiness.problem() == "no version is available of: added"
