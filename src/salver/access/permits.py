"""Whether a role covers a model and a verb. Pure."""

import re
from fnmatch import translate
from typing import Final

from salver.vocabulary.access import Role, Verb

__all__ = ["Permits", "covers", "covers_all_models"]

_NEEDS_A_MODEL: Final = frozenset({Verb.PREDICT, Verb.ADMIN})
_MAGIC: Final = re.compile(r"[*?]")


def covers_all_models(role: Role) -> bool:
    """Whether one of its patterns matches any name."""
    return any(pattern and not pattern.strip("*") for pattern in role.models)


def covers(role: Role, verb: Verb, model: str | None) -> bool:
    """Whether a role may do it, for who asks once; see `Permits.covers`."""
    return Permits(role).covers(verb, model)


class Permits:
    """What a role may do, made ready for look-ups."""

    __slots__ = ("_is_of_all", "_names", "_pattern", "_verbs")

    def __init__(self, role: Role) -> None:
        """Read the patterns of a role."""
        patterns = [each for each in role.models if _MAGIC.search(each)]
        self._verbs = role.verbs
        self._is_of_all = covers_all_models(role)
        self._names = frozenset(role.models) - frozenset(patterns)
        # `translate` makes what does not go back over a name, so that a long one is no attack. Only
        # its sets in brackets are not ours.
        written = [translate(each.replace("[", "[[]")) for each in patterns]
        self._pattern = re.compile("|".join(written)) if written else None

    def covers(self, verb: Verb, model: str | None) -> bool:
        """Whether the role may do it.

        Args:
            verb: what is asked for.
            model: that it concerns; None for none in particular. To administer the server itself,
                and to have something run that no model can be told of, takes a role of all models.
        """
        if verb not in self._verbs:
            return False
        if self._is_of_all:
            return True
        if model is None:
            return verb not in _NEEDS_A_MODEL
        if model in self._names:
            return True
        return self._pattern is not None and self._pattern.match(model) is not None
