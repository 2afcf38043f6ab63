"""Which configurations are taken, and what those that come over the network may name.

Who runs a server names places, options and files by flags and files. Who only reaches it may name
what was named so, and no more.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from salver.config import models as config
from salver.config.kept_options import check_log_files, with_options_kept
from salver.config.models import ModelConfig
from salver.management.base_paths import BasePaths
from salver.management.merging import check_batching

__all__ = ["Admission", "logging_configs"]


def logging_configs(models: Iterable[ModelConfig]) -> dict[str, bytes]:
    """Model → a serialized `tensorflow.serving.LoggingConfig`, of those that have one."""
    return {m.name: m.logging_config for m in models if m.logging_config is not None}


class Admission:
    """Refuses configurations. Changed under the lock of configurations."""

    def __init__(
        self,
        platforms: Collection[str],
        base_paths: BasePaths,
        *,
        may_name_log_files: bool,
        check_logs: Callable[[Mapping[str, bytes]], None],
    ) -> None:
        """Know of no configuration yet.

        Args:
            platforms: the platforms a model may ask for.
            base_paths: those that a request may name.
            may_name_log_files: whether a request may also name any files for request logs.
            check_logs: refuses collectors of request logs that are wrong.
        """
        self._platforms = platforms
        self._base_paths = base_paths
        self._may_name_log_files = may_name_log_files
        self._check_logs = check_logs
        self._named: tuple[ModelConfig, ...] = ()

    @property
    def named(self) -> tuple[ModelConfig, ...]:
        """The last configuration in effect that came from flags or a file."""
        return self._named

    def name(self, models: tuple[ModelConfig, ...]) -> None:
        """Let requests name what a configuration names that came from flags or a file."""
        self._named = models
        self._base_paths.name(models)

    def check(self, models: Sequence[ModelConfig], taken: Iterable[ModelConfig]) -> None:
        """Refuse what the reference refuses before it takes a list over.

        Also what it refuses after: a wrong collector of a request log.

        Args:
            models: the list.
            taken: the models whose platform is not to change.

        Raises:
            InvalidArgument: the list is wrong.
        """
        config.check_models(models)
        check_batching(models)
        config.check_platforms_unchanged(taken, models)
        self._check_logs(logging_configs(models))

    def check_platforms(self, models: Iterable[ModelConfig]) -> None:
        """Refuse models of platforms that there are not; the reference does so later.

        Raises:
            InvalidArgument: there is one.
        """
        config.check_platforms_supported(models, self._platforms)

    def check_request(
        self, models: Sequence[ModelConfig], configured: Iterable[ModelConfig]
    ) -> None:
        """Refuse a list of a request that names what is not its to name.

        Args:
            models: the list.
            configured: the present configuration.

        Raises:
            PermissionDenied: it does.
        """
        self._base_paths.check(models)
        with_options_kept(models, configured, self._named)
        self._check_log_files(models, configured)

    def check_change(self, models: Sequence[ModelConfig], before: Iterable[ModelConfig]) -> None:
        """Refuse what a request makes of the present configuration; its places may stay.

        Raises:
            PermissionDenied: it names what is not its to name.
        """
        self._base_paths.check(_moved(models, before))
        self._check_log_files(models, before)

    def with_options_kept(
        self, models: Sequence[ModelConfig], configured: Iterable[ModelConfig]
    ) -> tuple[ModelConfig, ...]:
        """The list of a request, with what stays where it says nothing; see `kept_options`."""
        return with_options_kept(models, configured, self._named)

    def _check_log_files(
        self, models: Iterable[ModelConfig], configured: Iterable[ModelConfig]
    ) -> None:
        if not self._may_name_log_files:
            check_log_files(models, (*configured, *self._named))


def _moved(models: Iterable[ModelConfig], before: Iterable[ModelConfig]) -> list[ModelConfig]:
    """Those that are new, or served from elsewhere than before."""
    known = {model.name: model.base_path for model in before}
    return [model for model in models if known.get(model.name) != model.base_path]
