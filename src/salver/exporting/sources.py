"""The source of a function or a class, with all it needs of the module it was written in.

What is written into a Python model must stand alone: modules are imported there by name, constants
and functions beside it are written out too, and anything else keeps it from being published.
"""

import ast
import dis
import inspect
import linecache
import sys
import textwrap
import types
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, Final

from salver.errors import InvalidArgument

__all__ = ["Sources"]

_MOST_CONSTANT: Final = 100_000  # characters; beyond, it is data, which stands in a file
_GLOBALS: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL"})
_FUNCTION: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
_INSTEAD: Final = (
    "Write a Python model instead: a class with predict, whose load reads what it needs from files "
    "in its directory."
)

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Sources:
    """Collects the text of a module, from what one object needs."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._imports: dict[str, str] = {}
        self._constants: dict[str, str] = {}
        self._definitions: dict[str, str] = {}
        self._under_way: set[str] = set()

    @property
    def text(self) -> str:
        """Imports, constants, and then what uses them."""
        head = sorted(set(self._imports.values()))
        parts = ["\n".join(head), "\n".join(self._constants.values()), *self._definitions.values()]
        return "\n\n\n".join(part for part in parts if part)

    @property
    def names(self) -> set[str]:
        """What is defined in it."""
        return {*self._imports, *self._constants, *self._definitions}

    def add(self, name: str, thing: Any) -> None:
        """Take a function or a class, and what it needs.

        Raises:
            InvalidArgument: something keeps it from standing alone.
        """
        if name in self._definitions or name in self._under_way:
            return
        self._under_way.add(name)
        functions = list(_functions_of(thing))
        for function in functions:
            _check_open(name, function)
        text, node = _definition(name, thing)
        if node.name != name:
            raise InvalidArgument(f"{name} is called {node.name} where it is defined")
        for function in functions:
            for used in sorted(_globals_of(function.__code__)):
                self._take(name, used, function.__globals__)
        space = _namespace(thing, functions)
        for used in _evaluated_names(node):
            self._take(name, used, space)
        self._definitions[name] = text

    def _take(self, user: str, name: str, space: dict[str, Any]) -> None:
        if name in self.names or name in self._under_way:
            return
        if name not in space:
            if name in vars(__import__("builtins")):
                return
            raise InvalidArgument(f"{user} uses {name}, which is not defined")
        value = space[name]
        if isinstance(value, types.ModuleType):
            _check_importable(user, name, value.__name__)
            self._imports[name] = _import_of(value.__name__, name)
        elif (home := _home(value, space)) is not None:
            _check_importable(user, name, home)
            own = value.__name__
            self._imports[name] = f"from {home} import {own}" + (
                "" if own == name else f" as {name}"
            )
        elif isinstance(value, types.FunctionType) or (
            isinstance(value, type) and value.__module__ == space.get("__name__")
        ):
            self.add(name, value)
        else:
            self._constants[name] = f"{name} = {_constant(user, name, value)}"


def _functions_of(thing: Any) -> Iterator[types.FunctionType]:
    if isinstance(thing, types.FunctionType):
        yield thing
        return
    for value in vars(thing).values():
        plain = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
        parts = (plain.fget, plain.fset) if isinstance(plain, property) else (plain,)
        yield from (part for part in parts if isinstance(part, types.FunctionType))


def _check_open(name: str, function: types.FunctionType) -> None:
    """Refuse a function that keeps values of another one.

    Raises:
        InvalidArgument: it does.
    """
    kept = [each for each in function.__code__.co_freevars if each != "__class__"]
    if kept:
        raise InvalidArgument(
            f"{name} cannot be published by its source: it keeps {', '.join(kept)} of the function "
            "it was defined in",
            hint=f"Define it at the top of its module, and take what it needs there. {_INSTEAD}",
        )


def _namespace(thing: Any, functions: list[types.FunctionType]) -> dict[str, Any]:
    if functions:
        return functions[0].__globals__
    return dict(vars(sys.modules.get(thing.__module__, sys)))


def _definition(name: str, thing: Any) -> "tuple[str, Definition]":
    """The text that defines it, and the same parsed.

    Raises:
        InvalidArgument: it cannot be read, is a lambda, or has decorators.
    """
    if getattr(thing, "__name__", "") == "<lambda>":
        raise InvalidArgument(
            "A lambda has no source of its own", hint="Define it by def, with a name."
        )
    node, text = _found(name, thing)
    if node is None:
        raise InvalidArgument(
            f"The source of {name} cannot be read",
            hint="Define it in a file or in a cell of a notebook, not at a prompt.",
        )
    decorators = [ast.unparse(of) for of in node.decorator_list]
    if decorators:
        raise InvalidArgument(
            f"{name} cannot be published by its source: it is decorated by @{decorators[0]}",
            hint="Call the decorated function from a plain one, or leave the decorator out.",
        )
    if isinstance(node, _FUNCTION) and _has_yield(node):
        raise InvalidArgument(f"{name} is a generator, which has no one answer", hint=_INSTEAD)
    return text, node


def _found(name: str, thing: Any) -> "tuple[Definition | None, str]":
    """The definition in the file, or the cell, that its code comes from."""
    functions = list(_functions_of(thing))
    code = functions[0].__code__ if functions else None
    try:
        file = code.co_filename if code is not None else inspect.getsourcefile(thing)
        lines = linecache.getlines(file or "")
        tree = ast.parse("".join(lines))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None, ""
    wanted = code.co_firstlineno if code is not None else 0
    best: Definition | None = None
    for node in ast.walk(tree):
        if not isinstance(node, (*_FUNCTION, ast.ClassDef)) or node.name != thing.__name__:
            continue
        first = min([node.lineno, *(of.lineno for of in node.decorator_list)])
        if not wanted or first <= wanted <= (node.end_lineno or first):
            best = node
    if best is None:
        return None, ""
    first = min([best.lineno, *(of.lineno for of in best.decorator_list)])
    return best, textwrap.dedent("".join(lines[first - 1 : best.end_lineno])).rstrip()


def _has_yield(node: ast.AST) -> bool:
    inner = [child for child in ast.iter_child_nodes(node) if not isinstance(child, _FUNCTION)]
    return any(
        isinstance(child, (ast.Yield, ast.YieldFrom)) or _has_yield(child) for child in inner
    )


def _globals_of(code: types.CodeType) -> set[str]:
    """The global names of a function, of functions and classes within it too."""
    found = {str(each.argval) for each in dis.get_instructions(code) if each.opname in _GLOBALS}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _globals_of(constant) - {"__name__", "__module__", "__qualname__"}
    return found - set(_own_names(code))


def _own_names(code: types.CodeType) -> list[str]:
    """Names that the body of a class has itself: it looks for them as for globals."""
    return [str(each.argval) for each in dis.get_instructions(code) if each.opname == "STORE_NAME"]


def _evaluated_names(node: "Definition") -> list[str]:
    """Names that are looked up where it is defined: defaults, base classes, a class's own values.

    Annotations are not: the text is written under `from __future__ import annotations`.
    """
    evaluated: list[ast.AST] = []
    for each in ast.walk(node):
        if isinstance(each, _FUNCTION):
            evaluated += [*each.args.defaults, *filter(None, each.args.kw_defaults)]
        if isinstance(each, ast.ClassDef):
            evaluated += [*each.bases, *(of.value for of in each.keywords)]
            evaluated += [
                of.value
                for of in each.body
                if isinstance(of, (ast.Assign, ast.AnnAssign)) and of.value is not None
            ]
    names = {
        of.id
        for part in evaluated
        for of in ast.walk(part)
        if isinstance(of, ast.Name) and isinstance(of.ctx, ast.Load)
    }
    stored = {
        of.id for of in ast.walk(node) if isinstance(of, ast.Name) and isinstance(of.ctx, ast.Store)
    }
    return sorted(names - stored)


def _home(value: Any, space: dict[str, Any]) -> str | None:
    """The module from which a name can be imported; None where it belongs to this one."""
    module = getattr(value, "__module__", None)
    own = getattr(value, "__name__", None)
    if not isinstance(module, str) or not isinstance(own, str):
        return None
    if module in (space.get("__name__"), "__main__"):
        return None
    is_there = getattr(sys.modules.get(module), own, None) is value
    return module if is_there else None


def _check_importable(user: str, name: str, module: str) -> None:
    if module == "__main__" or find_spec(module.partition(".")[0]) is None:
        raise InvalidArgument(
            f"{user} uses {name}, of {module}, which cannot be imported elsewhere", hint=_INSTEAD
        )


def _import_of(module: str, name: str) -> str:
    if module == name:
        return f"import {name}"
    parent, _, last = module.rpartition(".")
    if last == name:
        return f"from {parent} import {name}"
    return f"import {module} as {name}"


def _constant(user: str, name: str, value: Any) -> str:
    """The source of a constant.

    Raises:
        InvalidArgument: it has none.
    """
    try:
        text = repr(value)
        if len(text) <= _MOST_CONSTANT and ast.literal_eval(text) == value:
            return text
    except Exception:  # noqa: BLE001, S110 - whatever an object of another's class does
        pass
    raise InvalidArgument(
        f"{user} cannot be published by its source: it uses {name}, a {type(value).__name__} that "
        "no source says",
        hint=_INSTEAD,
    )
