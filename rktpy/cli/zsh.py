"""Completion code for zsh, made from the tables of commands and flags."""

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

_HEAD = r"""#compdef rktpy
# zsh completion for rktpy

__rktpy_described() {
    local -a names lines
    local pair
    for pair in "$@"; do
        names+=("${pair%%:*}")
        lines+=("${pair%%:*} -- ${pair#*:}")
    done
    compadd -l -d lines -a names
}

__rktpy_pods() {
    local -a found
    found=(${(f)"$(LIST_PODS | grep -E "${1:-}" | awk '/^[0-9a-f]/ {print $1}')"})
    compadd -a found
}

__rktpy_images() {
    local -a found
    found=(${(f)"$(LIST_IMAGES)"})
    compadd -a found
    _files
}
"""
_TAIL = r"""
_rktpy() {
    local command='' word skip='' previous=${words[CURRENT-1]} current=${words[CURRENT]} known
    local -i index
    for ((index = 2; index < CURRENT; index++)); do
        word=${words[index]}
        if [[ -n $skip ]]; then
            skip=''
        elif [[ $word == -* ]]; then
            if [[ $word != *=* ]] && __rktpy_takes_value "$word"; then
                skip=1
            fi
        else
            known="${command:+$command }$word"
            if __rktpy_is_command "$known"; then
                command=$known
            fi
        fi
    done
    if [[ $current == --*=* ]]; then
        compset -P '*='
        __rktpy_value "${current%%=*}"
    elif [[ -n $skip ]]; then
        __rktpy_value "$previous"
    elif [[ $current == -* ]]; then
        __rktpy_flags "$command"
    else
        __rktpy_arguments "$command"
    fi
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _rktpy "$@"
else
    compdef _rktpy rktpy
fi"""


def completion() -> str:
    """The whole script."""
    head = _HEAD.replace("LIST_PODS", LIST_PODS).replace("LIST_IMAGES", LIST_IMAGES)
    return "\n".join((head, _is_command(), _takes_value(), _value(), _flags(), _arguments())) + _TAIL


def quoted(text: str) -> str:
    """One word of a shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def _is_command() -> str:
    names = " | ".join([quoted(key(command)) for command in listed() if command is not ROOT])
    return _function("is_command", [f"({names}) return 0 ;;", "(*) return 1 ;;"])


def _takes_value() -> str:
    names = {flag[0] for command in listed() for flag in (*command.flags, *flags.GLOBAL) if takes_value(flag)}
    return _function("takes_value", [f"({' | '.join(f'--{name}' for name in sorted(names))}) return 0 ;;", "(*) return 1 ;;"])


def _value() -> str:
    cases = [f"(--{name}) compadd {words} ;;" for name, words in VALUES.items()]
    files = {flag[0] for command in listed() for flag in (*command.flags, *flags.GLOBAL) if names_file(flag)}
    cases.append(f"({' | '.join(f'--{name}' for name in sorted(files))}) _files ;;")
    return _function("value", cases)


def _flags() -> str:
    general = shown((*flags.GLOBAL, flags.HELP))
    cases: list[str] = []
    for command in listed():
        pairs = [quoted(f"--{flag[0]}:{flag[3]}") for flag in (*shown(command.flags), *general)]
        cases.append(f"({quoted(key(command))}) __rktpy_described {' '.join(pairs)} ;;")
    return _function("flags", cases)


def _arguments() -> str:
    cases: list[str] = []
    for command in listed():
        name = key(command)
        words = next_words(ROOT if name == "help" else command)
        if words and name in ARGUMENTS:
            pairs = [quoted(f"{word}:{short}") for word, short in words.items()]
            cases.append(f"({quoted(name)}) __rktpy_described {' '.join(pairs)}; _files ;;")
        elif words:
            pairs = [quoted(f"{word}:{short}") for word, short in words.items()]
            cases.append(f"({quoted(name)}) __rktpy_described {' '.join(pairs)} ;;")
        elif name in ARGUMENTS:
            what = ARGUMENTS[name]
            action = {"shells": f"compadd {SHELLS}", "files": "_files"}.get(what, f"__rktpy_{what}")
            cases.append(f"({quoted(name)}) {action} ;;")
    return _function("arguments", cases)


def _function(name: str, cases: list[str]) -> str:
    lines = "\n".join(f"        {case}" for case in cases)
    return f"__rktpy_{name}() {{\n    case $1 in\n{lines}\n    esac\n}}\n"
