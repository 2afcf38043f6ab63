import inspect

from salver.backends.tensorflow import session
from salver.vocabulary import model


def test_a_saved_model_is_a_model_and_its_programs_are_programs() -> None:
    for protocol, kind in (
        (model.Model, session.SavedModel),
        (model.Program, session.SavedModelProgram),
    ):
        for name, function in inspect.getmembers(protocol, inspect.isfunction):
            if not name.startswith("_"):
                assert list(inspect.signature(getattr(kind, name)).parameters) == list(
                    inspect.signature(function).parameters
                )
