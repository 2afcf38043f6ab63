"""How a `model.py` becomes a model: its class is imported, made, checked and loaded."""

import inspect
import logging
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from salver.backends.protocol import LoadStage
from salver.backends.python.declared import declaration_of
from salver.backends.python.event_loop import EventLoop
from salver.backends.python.failures import loading, running
from salver.backends.python.files import REQUIREMENTS, read_source
from salver.backends.python.literals import CLASS, TRITON_CLASS
from salver.backends.python.model import Method, PythonModel
from salver.backends.python.modules import Modules
from salver.backends.python.options import PythonOptions
from salver.backends.python.requirements import check_requirements
from salver.errors import FailedPrecondition, ServingError
from salver.vocabulary.signature import DEFAULT_SIGNATURE

__all__ = ["Context", "load_model"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the `load` of a model is given.

    Attributes:
        directory: of the version, with whatever the model has put there.
        name: of the model; empty where nobody serves it.
        version: its number; 0 likewise.
        options: what the model's configuration says under `options`.
        logger: whose lines go where the server's do.
    """

    directory: Path
    name: str
    version: int
    options: Mapping[str, str]
    logger: logging.Logger


def load_model(file: Path, options: PythonOptions, stage: LoadStage) -> PythonModel:
    """Load a model.

    Args:
        file: `model.py`.
        options: see there.
        stage: says what is loaded.

    Raises:
        ServingError: whatever keeps it from being loaded.
    """
    source = read_source(file)
    directory = file.parent
    check_requirements(directory / REQUIREMENTS)
    stage.check()
    context = Context(
        directory=directory,
        name=stage.id.name,
        version=stage.id.version,
        options=dict(options.own),
        logger=logging.getLogger(f"salver.models.{stage.id.name or directory.parent.name}"),
    )
    what = f"The Python model at {file}"
    with ExitStack() as undo:
        modules = Modules(list(dict.fromkeys((directory, file.resolve().parent))))
        undo.callback(modules.close)
        if TRITON_CLASS.encode() in source:
            from salver.backends.python.triton.loading import provide_utils

            provide_utils()
        with loading(what):
            module = modules.load(file.stem)
        made = getattr(module, CLASS, None)
        if made is None and hasattr(module, TRITON_CLASS):
            from salver.backends.python.triton.loading import load_triton_model

            model = load_triton_model(
                getattr(module, TRITON_CLASS), context, what, undo, modules.close
            )
        elif isinstance(made, type):
            model = _load(made, context, what, undo, modules.close)
        else:
            raise _without_class(file, module)
        undo.pop_all()
    return model


def _without_class(file: Path, module: ModuleType) -> FailedPrecondition:
    classes = [name for name, of in vars(module).items() if isinstance(of, type)][:5]
    error = FailedPrecondition(
        f"{file} has no class {CLASS}, and no {TRITON_CLASS}",
        hint=f"It has: {', '.join(classes)}" if classes else "It has no class at all.",
    )
    error.is_final = True
    return error


def _load(
    made: type[Any], context: Context, what: str, undo: ExitStack, end: Callable[[], None]
) -> PythonModel:
    with loading(what):
        instance = made()
        declared = declaration_of(lambda name: getattr(instance, name, None))
        methods = {
            name: Method.of(signature, _method(instance, name))
            for name, signature in declared.signatures.items()
        }
    begin, finish = getattr(instance, "load", None), getattr(instance, "close", None)
    loop = None
    is_async = any(method.is_async for method in methods.values())
    if is_async or any(map(inspect.iscoroutinefunction, (begin, finish))):
        loop = EventLoop(f"salver-python-{context.name}"[:60])
        undo.callback(loop.close)
    if begin is not None:
        with loading(what):
            _call(begin, (context,), loop)

    def close() -> None:
        if finish is not None:
            try:
                with running(f"close of {what}"):
                    _call(finish, (), loop)
            except ServingError as error:
                _log.warning("%s was not closed: %s", what, error.message)
        end()

    return PythonModel(
        context.name or what,
        methods,
        max_batch_size=declared.max_batch_size,
        loop=loop,
        on_close=close,
    )


def _method(instance: object, signature_name: str) -> Callable[[Any], Any]:
    name = "predict" if signature_name == DEFAULT_SIGNATURE else signature_name
    found = getattr(instance, name, None)
    if not callable(found):
        raise FailedPrecondition(f"class {CLASS} has no method {name}")
    return cast("Callable[[Any], Any]", found)


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], loop: EventLoop | None) -> None:
    done = function(*arguments)
    if loop is not None and inspect.iscoroutine(done):
        loop.start(cast("Coroutine[Any, Any, Any]", done)).result()
