"""The configuration of a server at its start, with the files of access control looked at."""

from salver.config.models import ModelConfig
from salver.config.options import ServerOptions
from salver.config.start_up import Configuration, read_configuration

__all__ = ["read_guarded_configuration"]


def read_guarded_configuration(
    options: ServerOptions, models: tuple[ModelConfig, ...] | None = None
) -> Configuration:
    """See `read_configuration`; files of keys that are wrong end the start too.

    Raises:
        InvalidArgument: what is said makes no sense.
        NotInstalled: tokens are to be taken, and the package for them is not there.
        ServingError: a file cannot be read.
    """
    configuration = read_configuration(options, models)
    if configuration.auth is not None:
        from salver.access.rules import check_auth_files  # here: few servers have any

        check_auth_files(configuration.auth)
    return configuration
