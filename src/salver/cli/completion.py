"""`salver completion`: a script that has a shell complete commands, flags and files.

The words stand in the script: a shell that completes starts no Python.
"""

import argparse
import shlex
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final

from salver.cli.backend_flags import settings_of_backends
from salver.cli.commands import COMMANDS, Command, Misused
from salver.config.options import FLAGS, FlagType

__all__ = ["actions_of", "completion", "flags_of"]

_USAGE: Final = "usage: salver completion bash|zsh|fish"
_HELP: Final = f"""\
{_USAGE}

Print a script for a shell. To have it in each new shell:

  bash   echo 'eval "$(salver completion bash)"' >> ~/.bashrc
  zsh    echo 'eval "$(salver completion zsh)"' >> ~/.zshrc
  fish   salver completion fish > ~/.config/fish/completions/salver.fish
"""
_SERVER: Final = "tensorflow_model_server"


def completion(arguments: Sequence[str]) -> int:
    """Run `salver completion ARGUMENTS`; returns its exit status.

    Raises:
        Misused: there is no such shell.
    """
    shell = arguments[0] if len(arguments) == 1 else ""
    if shell in ("--help", "-h"):
        print(_HELP, end="")
        return 0
    if shell not in _SCRIPTS:
        raise Misused(_USAGE)
    print(_SCRIPTS[shell](), end="")
    return 0


def flags_of(command: Command) -> tuple[str, ...]:
    """What a command takes that begins with dashes; with `=` where a value must follow it."""
    if command.name == "serve":
        return (*_server_flags(), "--help", "--help-all")
    if command.name == "fetch":
        return (*_server_flags(), "--help")
    if command.name == "show":
        settings = settings_of_backends()
        flags = [flag for flag in _server_flags() if flag.strip("-=") in settings]
        return (*flags, "--help")
    parser = _parser(command)
    own = set() if parser is None else set(_options(parser))
    if command.name == "config":  # of which one action takes what `serve` does
        own |= set(_server_flags())
    return tuple(sorted(own))


def actions_of(command: Command) -> tuple[str, ...]:
    """The words of which one must follow a command; none where anything may."""
    parser = _parser(command)
    actions = () if parser is None else parser._actions
    return tuple(
        word
        for each in actions
        if isinstance(each, argparse._SubParsersAction)
        for word in each.choices
    )


def _parser(command: Command) -> argparse.ArgumentParser | None:
    module = import_module(f"salver.cli.{command.module}")
    make_parser: Callable[[], argparse.ArgumentParser] | None = getattr(module, "make_parser", None)
    return None if make_parser is None else make_parser()


def _server_flags() -> list[str]:
    return [f"--{flag.name}" if flag.type is FlagType.BOOL else f"--{flag.name}=" for flag in FLAGS]


def _options(parser: argparse.ArgumentParser) -> list[str]:
    found: list[str] = []
    for action in parser._actions:  # there is no other way to ask it
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                found += _options(each)
        long = [option for option in action.option_strings if option.startswith("--")]
        found += long if action.nargs == 0 else [f"{option}=" for option in long]
    return found


def _actions() -> dict[str, str]:
    """Command → the words of which one must follow it, as one text; of those that have some."""
    found = {command.name: " ".join(actions_of(command)) for command in COMMANDS}
    return {name: actions for name, actions in found.items() if actions}


def _words() -> dict[str, str]:
    """Command → its flags, as one text."""
    return {command.name: " ".join(flags_of(command)) for command in COMMANDS}


def _bash() -> str:
    actions = _actions()
    cases = "\n".join(
        f"        {name}) words={shlex.quote(words)}"
        + (f" actions={shlex.quote(actions[name])}" if name in actions else "")
        + " ;;"
        for name, words in _words().items()
    )
    names = " ".join([*(command.name for command in COMMANDS), "--help", "--version"])
    server = shlex.quote(" ".join(_server_flags()))
    return f"""\
# bash completion for salver and {_SERVER}
_salver() {{
    local cur="${{COMP_WORDS[COMP_CWORD]}}" words="" actions=""
    case "${{COMP_WORDS[0]##*/}} $COMP_CWORD" in
        {_SERVER}*) words={server} ;;
        *" 1") words={shlex.quote(names)} ;;
        *) case "${{COMP_WORDS[1]}}" in
{cases}
        esac ;;
    esac
    COMPREPLY=()
    if [[ $cur == -* || $COMP_CWORD -eq 1 ]]; then
        COMPREPLY=($(compgen -W "$words" -- "$cur"))
    elif [[ $COMP_CWORD -eq 2 && -n $actions ]]; then
        COMPREPLY=($(compgen -W "$actions" -- "$cur"))
    fi
    if [[ ${{#COMPREPLY[@]}} -eq 0 ]]; then
        [[ $cur == "=" ]] && cur=""
        COMPREPLY=($(compgen -f -- "$cur"))
        compopt -o filenames 2>/dev/null
    elif [[ ${{COMPREPLY[0]}} == *= ]]; then
        compopt -o nospace 2>/dev/null
    fi
}}
complete -F _salver salver {_SERVER}
"""


def _zsh() -> str:
    actions = _actions()
    cases = "\n".join(
        f"        {name}) flags=({words}); actions=({actions.get(name, '')}) ;;"
        for name, words in _words().items()
    )
    commands = "\n".join(
        f"        {shlex.quote(f'{command.name}:{command.help}')}" for command in COMMANDS
    )
    return f"""\
#compdef salver {_SERVER}
# zsh completion for salver and {_SERVER}
_salver() {{
    local -a commands flags actions
    commands=(
{commands}
    )
    if [[ "${{words[1]:t}}" == {_SERVER} ]]; then
        flags=({" ".join(_server_flags())})
    elif (( CURRENT == 2 )); then
        _describe command commands
        return
    else
        case "${{words[2]}}" in
{cases}
        esac
    fi
    if [[ "$PREFIX" == -* ]]; then
        compadd -S '' -- ${{(M)flags:#*=}}
        compadd -- ${{flags:#*=}}
    elif (( CURRENT == 3 && ${{#actions}} )); then
        compadd -- $actions
    else
        _files
    fi
}}
(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit -u; }}
compdef _salver salver {_SERVER}
"""


def _fish() -> str:
    names = " ".join(command.name for command in COMMANDS)
    lines = [
        f"# fish completion for salver and {_SERVER}",
        *[
            f"complete -c salver -n 'not __fish_seen_subcommand_from {names}' -f "
            f"-a {command.name} -d {shlex.quote(command.help)}"
            for command in COMMANDS
        ],
        *[
            f"complete -c salver -n '__fish_seen_subcommand_from {name}; and not "
            f"__fish_seen_subcommand_from {actions}' -f -a {shlex.quote(actions)}"
            for name, actions in _actions().items()
        ],
        *[
            _fish_flag("salver", flag, f" -n '__fish_seen_subcommand_from {command.name}'")
            for command in COMMANDS
            for flag in flags_of(command)
        ],
        *[_fish_flag(_SERVER, flag, "") for flag in _server_flags()],
    ]
    return "\n".join(lines) + "\n"


def _fish_flag(command: str, flag: str, condition: str) -> str:
    name = flag.removeprefix("--")
    return f"complete -c {command}{condition} -l {name.rstrip('=')}" + " -r" * name.endswith("=")


_SCRIPTS: Final = {"bash": _bash, "zsh": _zsh, "fish": _fish}
