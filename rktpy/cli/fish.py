"""Completion code for fish, made from the tables of commands and flags."""

from __future__ import annotations

from rktpy.cli import flags
from rktpy.cli.commands import ROOT
from rktpy.cli.completed_values import (
    ARGUMENTS,
    LIST_IMAGES,
    LIST_PODS,
    SHELLS,
    VALUES,
    key,
    listed,
    names_file,
    next_words,
    takes_value,
)
from rktpy.cli.help import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.flags import Flag

_HEAD = r"""# fish completion for rktpy

function __rktpy_command
    set -l command
    set -l skip
    for word in (commandline -opc)[2..-1]
        if test -n "$skip"
            set skip
        else if string match -q -- '-*' $word
            if contains -- $word $__rktpy_takes_value
                set skip 1
            end
        else if contains -- (string join ' ' $command $word) $__rktpy_commands
            set command $command $word
        end
    end
    string join ' ' $command
end

function __rktpy_at
    set -l now (__rktpy_command)
    test "$now" = "$argv[1]"
end

function __rktpy_pods
    LIST_PODS | grep -E "$argv[1]" | awk '/^[0-9a-f]/ {print $1}'
end

function __rktpy_images
    LIST_IMAGES
end

complete -c rktpy -f
"""


def completion() -> str:
    """The whole script."""
    lines = [_HEAD.replace("LIST_PODS", LIST_PODS).replace("LIST_IMAGES", LIST_IMAGES)]
    lines.append(f"set -g __rktpy_commands {' '.join(quoted(key(command)) for command in listed() if command is not ROOT)}")
    takers = {flag[0] for command in listed() for flag in (*command.flags, *flags.GLOBAL) if takes_value(flag)}
    lines.append(f"set -g __rktpy_takes_value {' '.join(f'--{name}' for name in sorted(takers))}")
    for flag in shown((*flags.GLOBAL, flags.HELP)):
        lines.append(f"complete -c rktpy {_flag(flag)}")
    for command in listed():
        name = key(command)
        here = f"complete -c rktpy -n {quoted(f'__rktpy_at {quoted(name)}')}"
        for word, short in next_words(ROOT if name == "help" else command).items():
            lines.append(f"{here} -a {quoted(word)} -d {quoted(short)}")
        if name in ARGUMENTS:
            lines.append(f"{here} {_action(ARGUMENTS[name])}")
        lines += [f"{here} {_flag(flag)}" for flag in shown(command.flags)]
    return "\n".join(lines)


def quoted(text: str) -> str:
    """One word of fish."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _action(what: str) -> str:
    if what == "files":
        return "-F"
    if what == "shells":
        return f"-a {quoted(SHELLS)}"
    return f"-a {quoted(f'(__rktpy_{what})')}{' -F' if what == 'images' else ''}"


def _flag(flag: Flag) -> str:
    words = [f"-l {flag[0]}", f"-d {quoted(flag[3])}"]
    if flag[0] == "help":
        words.insert(0, "-s h")
    if flag[0] in VALUES:
        words.append(f"-x -a {quoted(VALUES[flag[0]])}" if takes_value(flag) else f"-a {quoted(VALUES[flag[0]])}")
    elif names_file(flag):
        words.append("-r -F")
    elif takes_value(flag):
        words.append("-x")
    return " ".join(words)
