"""The command line's rules: which command, which flags, which arguments."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rktpy import log
from rktpy.cli import flags
from rktpy.cli.command import Command
from rktpy.cli.commands import COMMANDS, ROOT
from rktpy.cli.parse import Arguments, find_command, parse
from rktpy.cli.usage import FlagError, HelpRequested, MissingCommand, UnknownCommand
from rktpy.errors import UsageError

#: Commands that do something themselves and have others below them: those are found by their whole names at once only.
DOING = {command.path for command in COMMANDS if command.module}
PLAIN = [
    command
    for command in COMMANDS
    if command.module and not command.images and command.path != ("help",) and command.path[:-1] not in DOING
]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Parsing ``--debug`` takes effect at once."""
    yield
    log.set_debug(False)


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("list", "list"),
        ("li", "list"),
        # logs is ours: what meant list with rkt still does.
        ("l", "list"),
        ("lo", "logs"),
        ("v", "version"),
        # run is whole, although run-prepared begins so too.
        ("run", "run"),
        ("run-", "run-prepared"),
        ("i l", "image list"),
        ("image c", "image cat-manifest"),
        ("image ch", "image check"),
        ("image fetch", "image fetch"),
        ("--debug list", "list"),
        ("--debug=false list", "list"),
        ("--dir /x list", "list"),
        ("--dir list list", "list"),
        ("--net run", "run"),
        ("--net=host --debug run", "run"),
        ("--pull-policy=new fetch", "fetch"),
        ("--pull-policy new fetch", "fetch"),
        ("--pretty-print=false config", "config"),
        ("--no-store --insecure-options=image fetch", "fetch"),
        ("--no-store fetch", "fetch"),
        ("image --format=json list", "image list"),
        ("--format json image list", "image list"),
        ("--wait status", "status"),
    ],
)
def test_the_command_is_found(line: str, path: str) -> None:
    command, _rest = find_command(line.split())
    assert " ".join(command.path) == path


@pytest.mark.parametrize("word", ["lst", "st", "e", "a", "imagelist", "LIST"])
def test_what_does_not_exist_is_unknown(word: str) -> None:
    with pytest.raises(UnknownCommand, match=f'^unknown command "{word}" for "rktpy"$'):
        parse([word])


def test_an_unknown_command_of_a_group() -> None:
    with pytest.raises(UnknownCommand, match=r'^unknown command "nope" for "rktpy image"$'):
        parse(["image", "nope"])


@pytest.mark.parametrize("line", ["", "--debug", "--dir=/x", "--dir /x"])
def test_no_command(line: str) -> None:
    with pytest.raises(MissingCommand, match=r"^missing command$") as caught:
        parse(line.split())
    assert caught.value.status == 2


@pytest.mark.parametrize(
    "line", ["--help", "list --help", "image", "image list -h", "run --help", "run x --help", "-h=true list"]
)
def test_help_is_asked_for(line: str) -> None:
    with pytest.raises(HelpRequested):
        parse(line.split())


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("list --bogus", "unknown flag: --bogus"),
        ("--bogus list", "unknown flag: --bogus"),
        ("--bogus=1 list", "unknown flag: --bogus"),
        ("--bogus --debug list", "unknown flag: --bogus"),
        ("list --=x", "bad flag syntax: --=x"),
        ("list ---x", "bad flag syntax: ---x"),
        ("list -x", "unknown shorthand flag: 'x' in -x"),
        ("list -hx", "unknown shorthand flag: 'x' in -hx"),
        ("list --dir", "flag needs an argument: --dir"),
        ("list --dir=", 'invalid argument "" for --dir=: "" is not a valid directory'),
        ("list --full=maybe", 'invalid argument "maybe" for --full=maybe: strconv.ParseBool: parsing "maybe": invalid syntax'),
        ("list --format yaml", 'invalid argument "yaml" for --format: Invalid format option: yaml'),
        ("gc --grace-period=5", 'invalid argument "5" for --grace-period=5: time: missing unit in duration "5"'),
        ("list --insecure-options=foo", 'invalid argument "foo" for --insecure-options=foo: unknown option "foo"'),
        ("list --insecure-options=tls,TLS", 'invalid argument "tls,TLS" for --insecure-options=tls,TLS: duplicated option "tls"'),
        ("image list --sort=id", 'invalid argument "id" for --sort=id: unknown option "id"'),
        ("image list --fields=id,latest", 'invalid argument "id,latest" for --fields=id,latest: unknown option "latest"'),
        ("image list --order=up", 'invalid argument "up" for --order=up: wrong sort order'),
        ("run-prepared --net=", 'invalid argument "" for --net=: netname must not be empty'),
        ("run-prepared --net=a --net=a", 'invalid argument "a" for --net=a: found duplicate netname "a"'),
        (
            "run-prepared --net=host:X=1",
            'invalid argument "host:X=1" for --net=host:X=1: arguments are not supported by special netname "host"',
        ),
        ("run --exec=/x img", 'invalid argument "/x" for --exec=/x: --exec must follow an image'),
        (
            "run --stage1-name=a --stage1-url=b",
            'invalid argument "b" for --stage1-url=b: flags --stage1-url and --stage1-name are mutually exclusive',
        ),
        ("run --stage1-name=a --stage1-name=b", 'invalid argument "b" for --stage1-name=b: --stage1-name already used'),
        ("run --set-env=A", 'invalid argument "A" for --set-env=A: must be specified as key=value'),
        ("run --set-env=A=1 --set-env=A=2", 'invalid argument "A=2" for --set-env=A=2: key "A" already set'),
        ("run --pull-policy=sometimes", 'invalid argument "sometimes" for --pull-policy=sometimes: must be new, update or never'),
    ],
)
def test_wrong_flags(line: str, problem: str) -> None:
    with pytest.raises(FlagError) as caught:
        parse(line.split(" "))
    assert str(caught.value) == problem


def test_flags_stand_anywhere() -> None:
    arguments = parse(["--grace-period", "1h", "--debug", "gc", "--expire-prepared=2m", "--dir=/a//b/../c"])
    assert arguments.command.path == ("gc",)
    assert arguments.duration("grace-period") == 3600 * 10**9
    assert arguments.duration("expire-prepared") == 120 * 10**9
    assert arguments.switch("debug")
    assert arguments.text("dir") == "/a/c"
    assert not arguments.switch("mark-only")


def test_defaults_come_from_the_table() -> None:
    arguments = parse(["gc"])
    assert arguments.duration("grace-period") == 30 * 60 * 10**9
    assert arguments.text("dir") == "/var/lib/rktpy"
    assert not arguments.has("dir")
    assert parse(["config"]).switch("pretty-print")
    assert parse(["fetch"]).text("pull-policy") == "update"
    assert parse(["run"]).text("pull-policy") == "new"


@pytest.mark.parametrize(
    ("line", "value"),
    [("status x", "false"), ("status --wait x", "true"), ("status --wait=10s x", "10s"), ("status x --wait=", "")],
)
def test_values_that_may_be_left_out(line: str, value: str) -> None:
    arguments = parse(line.split())
    assert arguments.text("wait") == value
    assert arguments.args == ["x"]


def test_net_alone_is_the_default_network() -> None:
    assert parse(["run-prepared", "--net", "u"]).repeated("net") == ("default",)
    assert parse(["run-prepared", "--net=a,b:X=1;Y=2", "--net=c:", "u"]).repeated("net") == ("a", "b:X=1;Y=2", "c")
    assert parse(["run-prepared", "u"]).repeated("net") == ()


def test_truth_flags_take_a_value_only_by_equals() -> None:
    arguments = parse(["stop", "--force", "false"])
    assert arguments.switch("force")
    assert arguments.args == ["false"]
    assert not parse(["stop", "--force=0", "x"]).switch("force")


def test_quotes_are_part_of_the_value() -> None:
    assert parse(["run-prepared", '--hostname="a"', "u"]).text("hostname") == '"a"'


def test_a_double_dash_ends_the_flags() -> None:
    assert parse(["stop", "--", "--force", "-x"]).args == ["--force", "-x"]
    assert parse(["rm", "a", "-", "--", "--", "b"]).args == ["a", "-", "--", "b"]


def test_enter_stops_at_the_first_argument() -> None:
    arguments = parse(["enter", "--app=a", "u", "ls", "--debug", "-l", "--", "x"])
    assert arguments.text("app") == "a"
    assert arguments.args == ["u", "ls", "--debug", "-l", "--", "x"]
    assert not arguments.switch("debug")
    assert parse(["enter", "--", "u", "-l"]).args == ["u", "-l"]


def test_deprecated_flags_say_so(capfd: pytest.CaptureFixture[str]) -> None:
    parse(["fetch", "--store-only"])
    assert capfd.readouterr().err == "Flag --store-only has been deprecated, please use --pull-policy=never\n"


@pytest.mark.parametrize(
    ("environment", "on"),
    [
        ({}, True),
        ({"RKT_EXPERIMENT_@": ""}, True),
        ({"RKT_EXPERIMENT_@": "1"}, True),
        ({"RKT_EXPERIMENT_@": "false"}, False),
        ({"RKTPY_EXPERIMENT_@": "F"}, False),
        ({"RKT_EXPERIMENT_@": "no"}, False),
        ({"RKT_EXPERIMENT_@": "0", "RKTPY_EXPERIMENT_@": "true"}, True),
        ({"RKT_EXPERIMENT_@": "1", "RKTPY_EXPERIMENT_@": "0"}, False),
    ],
)
def test_experiments_are_on_unless_switched_off(environment: dict[str, str], on: bool) -> None:
    # In a process of its own, because the environment is read as the process got it.
    import subprocess
    import sys

    from tests.conftest import ROOT as CHECKOUT

    def ends_in(line: str, switch: str) -> str:
        program = f"from rktpy.cli.parse import parse; parse({line.split()!r}); print('read')"
        names = {name.replace("@", switch): value for name, value in environment.items()}
        done = subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, env=names, capture_output=True, text=True)
        return done.stdout or done.stderr.strip().rpartition("\n")[2]

    refused = ends_in("run i --stdin=tty", "ATTACH")
    assert refused == "read\n" if on else refused.endswith("error parsing app image arguments")
    for line, switch in (("attach u", "ATTACH"), ("app list u", "APP")):
        refused = ends_in(line, switch)
        assert refused == "read\n" if on else refused.endswith(f'unknown command "{line.split()[0]}" for "rktpy"')


def value_of(flag: flags.Flag) -> st.SearchStrategy[str]:
    """Valid values for a flag, by its kind."""
    name, kind = flag[0], flag[1]
    if kind == "bool":
        return st.sampled_from(["true", "false", "1", "F"])
    if kind == "duration":
        return st.sampled_from(["0", "1h30m", "-5s", "1.5ms"])
    if kind == "integer":
        return st.sampled_from(["0", "-1", "+65536", "007"])
    if kind == "directory":
        return st.sampled_from(["/a", "/a/b", "relative", "list", "--x"])
    if kind == "insecure-options":
        return st.sampled_from(["none", "image", "tls,http", "all"])
    if kind in ("format", "order", "progress", "pull-policy", "fields", "sort"):
        fitting = {
            "format": ["", "json", "json-pretty"],
            "order": ["asc", "desc"],
            "progress": ["auto", "json", "none"],
            "pull-policy": ["new", "never"],
            "fields": ["id", "size,name"],
            "sort": ["name,size"],
        }
        return st.sampled_from(fitting[kind])
    if kind == "pair":
        return st.sampled_from(["a=b", "a="])
    if kind == "sandbox-port":
        return st.sampled_from(["web:tcp:80:0.0.0.0:8080", "dns:udp:53:[::1]:53"])
    if kind == "stage1":
        return st.just("x")
    if kind == "net":
        return st.sampled_from(["host", "none", "a,b:X=1"])
    assert kind in ("string", "list"), (name, kind)
    return st.sampled_from(["", "x", "a b", "list", "image", "--debug", "=", "a=b", "-", "\udcff"])


@st.composite
def command_lines(draw: st.DrawFn) -> tuple[Command, dict[str, str], list[str], list[str]]:
    """A command, the flags with their values, the arguments, and one of the ways to write that."""
    command = draw(st.sampled_from(PLAIN))
    table = [*flags.GLOBAL, *command.flags]
    # Of the flags that choose a stage1 only one may be given.
    chosen = draw(
        st.lists(st.sampled_from(table), unique_by=lambda flag: "stage1" if flag[1] == "stage1" else flag[0], max_size=5)
    )
    values: dict[str, str] = {}
    pieces: list[list[str]] = []
    for flag in chosen:
        name, kind = flag[0], flag[1]
        value = draw(value_of(flag))
        if (kind == "bool" or name in flags.OPTIONAL_VALUES) and draw(st.booleans()):
            value = "true" if kind == "bool" else flags.OPTIONAL_VALUES[name]
            pieces.append([f"--{name}"])
        elif kind == "bool" or name in flags.OPTIONAL_VALUES or draw(st.booleans()):
            pieces.append([f"--{name}={value}"])
        else:
            pieces.append([f"--{name}", value])
        values[name] = value
    # A word after a command with sub-commands may be one of these ("trust list" is no file called list).
    words_of_others = {other.path[-1] for other in COMMANDS if other.path[:-1] == command.path}
    given = [word for word in ("u", "", "-", "list", "a=b") if word not in words_of_others]
    positional = draw(st.lists(st.sampled_from(given), max_size=3))
    cut = draw(st.integers(0, len(pieces)))
    before, after = pieces[:cut], pieces[cut:]
    # Flags may come between the words of a command, and between the arguments unless the first of them ends the flags.
    middle = draw(st.integers(0, len(before)))
    words = [word for piece in before[:middle] for word in piece]
    words.append(command.path[0])
    words += [word for piece in before[middle:] for word in piece]
    words += command.path[1:]
    tail: list[list[str]] = [*after]
    for argument in positional if not command.first else []:
        tail.insert(draw(st.integers(0, len(tail))), [argument])
    words += [word for piece in tail for word in piece]
    if command.first:
        words += positional
        return command, values, positional, words
    return command, values, [piece[0] for piece in tail if piece[0][:2] != "--"], words


@given(command_lines())
def test_every_way_to_write_a_command_line_reads_the_same(case: tuple[Command, dict[str, str], list[str], list[str]]) -> None:
    command, values, positional, words = case
    arguments = parse(words)
    assert arguments.command is command
    assert arguments.args == positional
    assert set(arguments.given) == set(values)
    for name, value in values.items():
        kind = arguments.table[name][1]
        if kind == "bool":
            assert arguments.switch(name) == (value in ("true", "1"))
        elif kind == "integer":
            assert arguments.number(name) == int(value)
        elif kind == "list":
            assert arguments.repeated(name) == (value,)
        elif kind == "directory":
            assert arguments.text(name)[0] == "/"
        elif kind != "duration":
            assert arguments.text(name) == value


@given(
    st.lists(
        st.sampled_from(
            ["run", "--", "---", "--net", "--net=x", "img", "", "-", "--exec", "--exec=a", "--debug", "--name=b", "-h", "--bogus"]
        )
    )
)
def test_no_command_line_does_worse_than_a_usage_error(words: list[str]) -> None:
    try:
        arguments = parse(words)
    except (UsageError, HelpRequested):
        return
    assert isinstance(arguments, Arguments)


@given(st.lists(st.text(max_size=8), max_size=6))
def test_no_words_do_worse_than_a_usage_error(words: list[str]) -> None:
    try:
        command, _rest = find_command(words)
    except UnknownCommand:
        return
    assert command is ROOT or command in COMMANDS


@given(st.sampled_from(PLAIN), st.integers(1, 12))
def test_prefixes_mean_one_command_or_none(command: Command, length: int) -> None:
    word = command.path[-1][:length]
    group = command.path[:-1]
    siblings = [other for other in COMMANDS if other.path[:-1] == group]
    meant = [other for other in siblings if other.path[-1] == word]
    if not meant:
        meant = [other for other in siblings if other.path[-1].startswith(word) and not other.added]
    if not meant:
        meant = [other for other in siblings if other.path[-1].startswith(word)]
    assume(len(meant) == 1)
    assert find_command([*group, word])[0] is meant[0]


def test_tables_are_sound() -> None:
    paths = [command.path for command in COMMANDS]
    assert len(set(paths)) == len(paths)
    for command in COMMANDS:
        names = [flag[0] for flag in (*flags.GLOBAL, *command.flags, flags.HELP)]
        assert len(set(names)) == len(names), command.path
        assert command.use.split(" ")[0] == command.path[-1]
    # Before the command is known a flag must mean the same in all of them.
    kinds: dict[str, bool] = {}
    for command in COMMANDS:
        for flag in (*flags.GLOBAL, *command.flags):
            takes = flag[1] != "bool"
            assert kinds.setdefault(flag[0], takes) == takes, flag[0]


def test_a_port_that_no_image_names() -> None:
    arguments = parse(["run", "--port=web:tcp:80:127.0.0.1:8080", "--port=old:[::1]:8081", "--port=new:udp:53:[::1]:53", "image"])
    named = [
        (one.name, one.host_ip, one.host_port, one.pod_port and (one.pod_port.protocol, one.pod_port.port))
        for one in arguments.ports
    ]
    assert named == [
        ("web", "127.0.0.1", 8080, ("tcp", 80)),
        ("old", "::1", 8081, None),
        ("new", "::1", 53, ("udp", 53)),
    ]


def test_programs_may_write_the_flags_of_verify_image_with_one_dash() -> None:
    digest = "sha256:" + "0" * 64
    for dash in ("-", "--"):
        arguments = parse(
            ["verify-image", f"{dash}name", "r.example/a:1", f"{dash}digest={digest}", f"{dash}stdin-media-type", "x"]
        )
        assert (arguments.text("name"), arguments.text("digest")) == ("r.example/a:1", digest)
        assert arguments.text("stdin-media-type") == "x"
    with pytest.raises(FlagError, match="unknown flag: -nam"):
        parse(["verify-image", "-nam", "x"])
    with pytest.raises(HelpRequested):
        parse(["verify-image", "-h"])
    with pytest.raises(FlagError, match="unknown shorthand flag: 'n'"):
        parse(["list", "-no-legend"])
