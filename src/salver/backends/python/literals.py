"""What a `model.py` says of itself, read as text: nothing in it runs."""

import ast
import warnings
from pathlib import Path
from typing import Any, Final

from salver.errors import FailedPrecondition

__all__ = ["CLASS", "TRITON_CLASS", "Unreadable", "class_of", "literals_of", "methods_of"]

CLASS: Final = "Model"
TRITON_CLASS: Final = "TritonPythonModel"


class Unreadable(Exception):
    """What is declared is computed, so that only a load tells."""


def class_of(source: bytes, path: Path) -> ast.ClassDef:
    """The class of a model.

    Args:
        source: of the file.
        path: of it, for errors.

    Raises:
        FailedPrecondition: it is no Python program, or has none of the two classes.
        Unreadable: the class comes from elsewhere.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source, str(path))
    except SyntaxError as error:
        raise _final(f"{path} is no Python program: {error.msg} (line {error.lineno})") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise _final(f"{path} is no Python program: {error}") from None
    known = {
        node.name: node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name in (CLASS, TRITON_CLASS)
    }
    found = known.get(CLASS) or known.get(TRITON_CLASS)
    if found is not None:
        return found
    named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    imported = {
        (alias.asname or alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    if {CLASS, TRITON_CLASS, "*"} & (named | imported):
        raise Unreadable
    raise _final(f"{path} has no class {CLASS}, and no {TRITON_CLASS}")


def literals_of(found: ast.ClassDef) -> dict[str, Any]:
    """The attributes of a class that are literals.

    Raises:
        Unreadable: one of those that declare a model is not, or may come from another class.
    """
    declaring = {"inputs", "outputs", "signatures", "max_batch_size"}
    values: dict[str, Any] = {}
    for node in found.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pass
            case _:
                continue
        if name in declaring:
            try:
                values[name] = ast.literal_eval(value)
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                raise Unreadable from None
    if found.bases or found.decorator_list or not {"inputs", "signatures"} & values.keys():
        raise Unreadable
    return values


def methods_of(found: ast.ClassDef) -> set[str]:
    """The names of what a class defines by `def`."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in found.body if isinstance(node, kinds)}


def _final(message: str) -> FailedPrecondition:
    error = FailedPrecondition(message)
    error.is_final = True
    return error
