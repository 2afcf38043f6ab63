from salver.backends.keras.options import KerasOptions
from salver.backends.options import fill, pick
from salver.config.options import ServerOptions, settings_of


def _options(flags: ServerOptions) -> KerasOptions:
    return fill(KerasOptions, pick("keras", KerasOptions, settings_of(flags)))


def test_by_default_safe_mode_is_on() -> None:
    assert _options(ServerOptions()) == KerasOptions(max_cache_bytes=10 << 30)
    assert KerasOptions().safe_mode


def test_every_flag_is_heard() -> None:
    flags = ServerOptions(
        keras_safe_mode=False,
        keras_custom_objects="a.b,/c/d.py,",
        conversion_cache="/cache",
        conversion_cache_max_bytes=5,
        conversion_timeout_seconds=2.5,
    )
    assert _options(flags) == KerasOptions(
        safe_mode=False,
        custom_objects=("a.b", "/c/d.py"),
        cache="/cache",
        max_cache_bytes=5,
        timeout_s=2.5,
    )
