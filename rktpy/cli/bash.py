"""Completion code for bash, made from the tables of commands and flags."""

from __future__ import annotations

from rktpy.cli import flags
from rktpy.cli.commands import ROOT
from rktpy.cli.completed_values import ARGUMENTS, VALUES, key, listed, names_file, takes_value
from rktpy.cli.help import shown, sub_commands

_HEAD = r"""# bash completion for rktpy

__rktpy_words() {
    local IFS=$' \t\n'
    COMPREPLY=($(compgen -W "$1" -- "$cur"))
}

__rktpy_files() {
    local IFS=$'\n'
    compopt -o filenames 2>/dev/null
    COMPREPLY=($(compgen -f -- "$cur"))
}

__rktpy_shells() {
    __rktpy_words 'bash zsh fish'
}

__rktpy_pods() {
    __rktpy_words "$(rktpy list --no-legend 2>/dev/null | grep -E "${1:-}" | awk '/^[0-9a-f]/ {print $1}')"
}

__rktpy_images() {
    __rktpy_words "$(rktpy image list --no-legend --fields=id 2>/dev/null)"
    if [[ ${#COMPREPLY[@]} -eq 0 ]]; then
        __rktpy_files
    fi
}
"""

_TAIL = r"""
_rktpy() {
    local cur prev command word index skip
    COMPREPLY=()
    cur=${COMP_WORDS[COMP_CWORD]}
    prev=${COMP_WORDS[COMP_CWORD-1]}
    # bash takes "=" for a word of its own.
    if [[ $cur == = ]]; then
        cur=
        prev=${COMP_WORDS[COMP_CWORD-1]}
    elif [[ $prev == = && $COMP_CWORD -ge 2 ]]; then
        prev=${COMP_WORDS[COMP_CWORD-2]}
    fi
    command=
    skip=
    for ((index = 1; index < COMP_CWORD; index++)); do
        word=${COMP_WORDS[index]}
        if [[ -n $skip ]]; then
            skip=
        elif [[ $word == = ]]; then
            skip=1
        elif [[ $word == -* ]]; then
            if [[ ${COMP_WORDS[index+1]} != = ]] && __rktpy_takes_value "$word"; then
                skip=1
            fi
        elif __rktpy_is_command "${command:+$command }$word"; then
            command="${command:+$command }$word"
        fi
    done
    if __rktpy_value "$prev"; then
        return
    fi
    if [[ $cur == -* ]]; then
        __rktpy_flags "$command"
    else
        __rktpy_arguments "$command"
    fi
}

complete -F _rktpy rktpy"""


def completion() -> str:
    """The whole script."""
    return "\n".join((_HEAD, _is_command(), _takes_value(), _value(), _flags(), _arguments())) + _TAIL


def _is_command() -> str:
    names = [key(command) for command in listed() if command is not ROOT]
    return _function("is_command", [f"{' | '.join(_quoted(name) for name in names)}) return 0 ;;", "*) return 1 ;;"])


def _takes_value() -> str:
    names = {flag[0] for command in listed() for flag in (*command.flags, *flags.GLOBAL) if takes_value(flag)}
    return _function("takes_value", [f"{' | '.join(f'--{name}' for name in sorted(names))}) return 0 ;;", "*) return 1 ;;"])


def _value() -> str:
    cases = [f"--{name}) __rktpy_words '{words}' ;;" for name, words in VALUES.items()]
    files = {flag[0] for command in listed() for flag in (*command.flags, *flags.GLOBAL) if names_file(flag)}
    cases.append(f"{' | '.join(f'--{name}' for name in sorted(files))}) __rktpy_files ;;")
    # A value that cannot be guessed is better not completed as something else.
    cases.append('*) __rktpy_takes_value "$1" ;;')
    return _function("value", cases)


def _flags() -> str:
    general = " ".join(f"--{flag[0]}" for flag in shown((*flags.GLOBAL, flags.HELP)))
    cases = [
        f"{_quoted(key(command))}) __rktpy_words '{' '.join(f'--{flag[0]}' for flag in shown(command.flags))} {general}' ;;"
        for command in listed()
        if command.flags
    ]
    cases.append(f"*) __rktpy_words '{general}' ;;")
    return _function("flags", cases)


def _arguments() -> str:
    cases: list[str] = []
    for command in listed():
        if not command.module:
            depth = len(command.path)
            names = {below.path[depth] for below in sub_commands(command)}
            cases.append(f"{_quoted(key(command))}) __rktpy_words '{' '.join(sorted(names))}' ;;")
        elif key(command) == "help":
            names = {below.path[0] for below in sub_commands(ROOT)}
            cases.append(f"help) __rktpy_words '{' '.join(sorted(names))}' ;;")
        elif key(command) in ARGUMENTS and sub_commands(command):
            names = {below.path[-1] for below in sub_commands(command)}
            fallback = f"__rktpy_{ARGUMENTS[key(command)]}"
            words = f"__rktpy_words '{' '.join(sorted(names))}'"
            cases.append(f"{_quoted(key(command))}) {words}; [[ ${{#COMPREPLY[@]}} -gt 0 ]] || {fallback} ;;")
        elif key(command) in ARGUMENTS:
            cases.append(f"{_quoted(key(command))}) __rktpy_{ARGUMENTS[key(command)]} ;;")
    return _function("arguments", cases)


def _function(name: str, cases: list[str]) -> str:
    lines = "\n".join(f"        {case}" for case in cases)
    return f"__rktpy_{name}() {{\n    case $1 in\n{lines}\n    esac\n}}\n"


def _quoted(text: str) -> str:
    return f"'{text}'" if not text or " " in text else text
