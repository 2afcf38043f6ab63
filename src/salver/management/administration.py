"""What administrators request of a server: read its configuration, change it, act on its models.

A change is made of the configuration as it is at that moment, under the core's lock, and so is its
condition checked: of many at once each sees what the one before it has done.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from salver.config.changes import (
    Change,
    DeleteModel,
    PutBatching,
    PutConfig,
    PutModel,
    Tags,
    differences,
    find,
    made,
)
from salver.config.effective import Begun, flag_settings, plain
from salver.config.model_documents import config_document, model_document
from salver.config.models import ModelConfig, load_settings, platform_of
from salver.config.start_up import Configuration
from salver.errors import FailedPrecondition, NotFound, ServingError
from salver.lifecycle.callers import Caller
from salver.lifecycle.monitor import VersionStatus
from salver.management.audit import Audit, changes_document
from salver.management.core import ServerCore
from salver.protocols.administration import (
    Act,
    Administered,
    AdminRequest,
    MakeChange,
    ReadAudit,
    ReadConfig,
    ReadModel,
    ReadRevisions,
)

__all__ = ["Administration"]

_MOST_AUDIT: Final = 1000


class Administration:
    """Does what requests say. Safe to use from any thread; may wait for models and for the disk."""

    def __init__(
        self,
        core: ServerCore,
        configuration: Configuration,
        audit: Audit,
        *,
        clear_quarantine: Callable[[str], tuple[int, ...]] = lambda _name: (),
    ) -> None:
        """Administer a core.

        Args:
            core: that one.
            configuration: the flags of the whole server, and the models it began with.
            audit: takes down what is done; the core tells it of configurations by itself.
            clear_quarantine: brings versions of a model back; their numbers.
        """
        self._core = core
        self._configuration = configuration
        self._options = configuration.options
        self._audit = audit
        self._clear_quarantine = clear_quarantine
        self._tags = Tags()
        self._begun = Begun(self._options, configuration.models or ())

    def __call__(self, request: AdminRequest, caller: Caller) -> Administered:
        """Do it; see `Administer`.

        Raises:
            ServingError: it cannot be done.
        """
        match request:
            case ReadConfig():
                return self._config()
            case ReadModel(name):
                return self._model(name)
            case ReadRevisions(revision):
                return self._revisions(revision)
            case ReadAudit(most):
                return Administered.of({"entries": self._audit.entries(min(most, _MOST_AUDIT))})
            case MakeChange():
                if request.is_dry_run:
                    return self._changed(request, caller)
                return self._recorded(
                    lambda: self._changed(request, caller),
                    *(caller, "configure", _subject(request.change) or ""),
                )
            case Act():
                return self._recorded(
                    lambda: self._act(request, caller), caller, request.action, request.name
                )

    def _recorded(
        self, do: Callable[[], Administered], caller: Caller, action: str, model: str
    ) -> Administered:
        try:
            return do()
        except ServingError as error:
            self._audit.failed(caller.actor, action, model, error.code.name, error.message)
            raise

    # -- reading ---------------------------------------------------------------------------------

    def _config(self) -> Administered:
        models, tags = self._core.configured, self._tags
        begun = self._begun.read()
        tag = tags.of_all(models)
        settings = [
            {"name": name, "etag": tags.of(model), "settings": [plain(each) for each in own]}
            for model, (name, own) in zip(models, begun.settings(models), strict=True)
        ]
        document: dict[str, Any] = {
            "etag": tag,
            "config": config_document(models),
            "is_changed": tuple(begun.models) != models,
            "flags": [plain(each) for each in flag_settings(self._options)],
            "models": settings,
            "unloaded": sorted(self._core.unloaded),
            "persistence": self.persistence,
        }
        if self._begun.file:
            document["model_config_file"] = self._begun.file
        if begun.problem:
            document["model_config_file_problem"] = begun.problem
        return Administered.of(document, tag)

    def _model(self, name: str) -> Administered:
        model = find(self._core.configured, name)
        _, settings = next(self._begun.read().settings((model,)))
        tag = self._tags.of(model)
        document = {
            "name": name,
            "etag": tag,
            "config": model_document(model),
            "settings": [plain(each) for each in settings],
            "is_unloaded": name in self._core.unloaded,
            "versions": [_version(status) for status in self._statuses(name)],
            "labels": self._core.labels(name),
            "persistence": self.persistence,
        }
        return Administered.of(document, tag)

    def _statuses(self, name: str) -> tuple[VersionStatus, ...]:
        try:
            return self._core.statuses(name)
        except NotFound:
            return ()

    def _revisions(self, revision: int | None) -> Administered:
        if revision is not None:
            return Administered.of(self._audit.revision(revision))
        return Administered.of({"revisions": self._audit.revisions()})

    @property
    def persistence(self) -> str:
        """How long a change lasts, in a sentence."""
        file, lasts = self._begun.file, "Changes are in memory only"
        if not file:
            return f"{lasts}, until the server ends."
        if self._options.model_config_file_poll_wait_seconds > 0:
            return f"{lasts}, until the bytes of {file} change or the server ends."
        return f"{lasts}, until the server ends: {file} is read when it starts."

    # -- changing --------------------------------------------------------------------------------

    def _changed(self, request: MakeChange, caller: Caller) -> Administered:
        change, name, tags = request.change, _subject(request.change), self._tags
        if isinstance(change, PutBatching):
            self._check_batched(find(self._core.configured, change.name))

        def make(models: tuple[ModelConfig, ...]) -> tuple[ModelConfig, ...]:
            request.condition.check(tags, models, name)
            return made(models, change, self._core.named)

        before, after = self._core.change(make, caller.actor, is_dry_run=request.is_dry_run)
        changes, more = differences(before, after)
        config_tag = tags.of_all(after)
        is_there = name is not None and not isinstance(change, DeleteModel)
        tag = tags.of(find(after, name or "")) if is_there else config_tag
        return Administered.of(
            {
                "is_dry_run": request.is_dry_run,
                "etag": tag,
                "config_etag": config_tag,
                "changes": changes_document(changes),
                "more_changes": more,
                "loads_again": _loads_again(before, after),
                "persistence": self.persistence,
            },
            tag,
        )

    def _check_batched(self, model: ModelConfig) -> None:
        """Refuse parameters that nobody would look at.

        Raises:
            FailedPrecondition: requests are not merged here.
        """
        platforms = self._configuration.platforms
        platform = platforms.get(platform_of(model)) or platforms.get("tensorflow")
        if platform is None or platform.batching is None:
            raise FailedPrecondition(
                f"Requests of model {model.name} are not batched",
                hint="They are with --enable_batching.",
            )

    def _act(self, request: Act, caller: Caller) -> Administered:
        name, core = request.name, self._core
        document: dict[str, Any] = {"name": name, "action": request.action}
        match request.action:
            case "load" | "unload":
                core.set_loaded(name, is_loaded=request.action == "load", caller=caller)
            case "reload":
                core.reload(name, caller.actor)
            case "clear_quarantine":
                find(core.configured, name)
                document["cleared_versions"] = list(self._clear_quarantine(name))
                self._audit.did(caller.actor, request.action, name)
        document["versions"] = [_version(status) for status in self._statuses(name)]
        document["persistence"] = self.persistence
        return Administered.of(document)


def _subject(change: Change) -> str | None:
    """The one model that a change is about."""
    match change:
        case PutConfig():
            return None
        case PutModel(model):
            return model.name
        case _:
            return change.name


def _loads_again(before: tuple[ModelConfig, ...], after: tuple[ModelConfig, ...]) -> list[str]:
    """The models whose versions are loaded again."""
    old: Mapping[str, ModelConfig] = {model.name: model for model in before}
    kept = ((old[model.name], model) for model in after if model.name in old)
    return [
        new.name for was, new in kept if was is not new and load_settings(was) != load_settings(new)
    ]


def _version(status: VersionStatus) -> dict[str, Any]:
    said: dict[str, Any] = {"version": status.id.version, "state": status.state.name}
    if status.error is not None:
        said["error_code"], said["error_message"] = status.error.code.name, status.error.message
    if status.note:
        said["note"] = status.note
    return said
