"""Images on the command line, with flags and program arguments of their own (cases as in rkt's cli_apps_test)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rktpy import log
from rktpy.cli.images import of
from rktpy.cli.parse import Arguments, parse
from rktpy.errors import UsageError, innermost
from rktpy.formats.aci.types import NameValue
from rktpy.stage0.options import AppOptions


def apps(line: str) -> tuple[AppOptions, ...]:
    return of(parse(["run", *line.split(" ")])).apps()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Parsing ``--debug`` takes effect at once."""
    yield
    log.set_debug(False)


@pytest.mark.parametrize(
    ("line", "images"),
    [
        ("a b -- --help --- c -- --verbose", [("a", ()), ("b", ("--help",)), ("c", ("--verbose",))]),
        ("a --- b --- c ---", [("a", ()), ("b", ()), ("c", ())]),
        ("a b c", [("a", ()), ("b", ()), ("c", ())]),
        ("a  b", [("a", ()), ("b", ())]),
        ("a -- -- --- b", [("a", ("--",)), ("b", ())]),
        ("a -- x  y", [("a", ("x", "y"))]),
        ("--debug a --exec=/x -- y", [("a", ("y",))]),
        ("a --exec -- -- y", [("a", ("y",))]),
        ("- -- -", [("-", ("-",))]),
    ],
)
def test_arguments_belong_to_the_image_before_them(line: str, images: list[tuple[str, tuple[str, ...]]]) -> None:
    assert [(app.image, app.args) for app in apps(line)] == images


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("run -- x", "an image is required before any app arguments"),
        ("run a -- x --- -- y", "only one set of app arguments allowed per image"),
        ("fetch a -- x", "app arguments unsupported"),
        ("run a --bogus", "unknown flag: --bogus"),
        ("run a -x", "unknown shorthand flag: 'x' in -x"),
        ("run a --name", "flag needs an argument: --name"),
        ("run a --exec=/x --exec=/y", 'invalid argument "/y" for --exec=/y: --exec specified multiple times for the same image'),
        ("run a --environment=A", 'invalid argument "A" for --environment=A: invalid format of --environment flag "A"'),
        (
            "run a --readonly-rootfs=x",
            'invalid argument "x" for --readonly-rootfs=x: --readonly-rootfs must be set with a boolean',
        ),
        (
            "run a --supplementary-gids=1,x",
            'invalid argument "1,x" for --supplementary-gids=1,x: --supplementary-gids must be integers',
        ),
        ("run a --supplementary-gids=-1", 'invalid argument "-1" for --supplementary-gids=-1: -1 is not a group ID'),
        ("run a --cpu-shares=x", 'invalid argument "x" for --cpu-shares=x: strconv.Atoi: parsing "x": invalid syntax'),
    ],
)
def test_what_is_refused(line: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(line.split(" "))
    where = "unable to parse arguments" if line.startswith("fetch") else "error parsing app image arguments"
    assert innermost(caught.value) == f"{where}: {problem}"


@pytest.mark.parametrize(
    "flag",
    [
        "--memory=16m",
        "--memory=lots",
        "--cpu=x",
        "--cpu-shares=1",
        "--oom-score-adj=1001",
        "--caps-retain=",
        "--seccomp=mode=keep,chmod",
        "--mount=volume=v",
        "--mount=volume=V,target=/x",
        "--mount=volume=v,target=/x,extra=1",
        "--user-label=x",
    ],
)
def test_values_are_checked_at_once(flag: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(["run", "--volume=v,kind=empty", "a", flag])
    assert flag in str(caught.value.__cause__)


@pytest.mark.parametrize(
    "name",
    [
        "exec",
        "name",
        "user",
        "group",
        "working-dir",
        "signature",
        "memory",
        "cpu",
        "seccomp",
        "environment",
        "caps-retain",
        "readonly-rootfs",
    ],
)
def test_flags_of_an_image_need_one(name: str) -> None:
    with pytest.raises(UsageError, match=f"--{name} must follow an image$"):
        parse(["run", f"--{name}=x", "a"])


def test_every_flag_reaches_the_record() -> None:
    line = (
        "a --exec=/x --name=n --user=1 --group=g --supplementary-gids=1,2 --supplementary-gids 3 --working-dir=/w"
        " --readonly-rootfs=true --mount=volume=v,target=/m --environment=A=1 --environment=B==x --environment=A=2"
        " --annotation=an=1 --user-annotation=ua=1 --user-label=ul=1 --signature=s --memory=16M --cpu=500m --cpu-shares=2"
        " --oom-score-adj=-1000 --caps-retain=CAP_KILL,CAP_CHOWN --caps-remove=CAP_MKNOD --seccomp mode=retain,errno=EPERM,chmod"
    )
    arguments = parse(["run", "--volume=v,kind=empty", *line.split(" ")])
    assert of(arguments).apps() == (
        AppOptions(
            image="a",
            signature="s",
            name="n",
            exec="/x",
            user="1",
            group="g",
            supplementary_gids=(1, 2, 3),
            working_directory="/w",
            readonly_rootfs=True,
            mounts=(("v", "/m"),),
            environment=(NameValue("A", "2"), NameValue("B", "=x")),
            annotations=(NameValue("an", "1"),),
            user_annotations=(NameValue("ua", "1"),),
            user_labels=(NameValue("ul", "1"),),
            memory="16M",
            cpu="500m",
            cpu_shares=2,
            oom_score_adj=-1000,
            caps_retain=("CAP_KILL", "CAP_CHOWN"),
            caps_remove=("CAP_MKNOD",),
            seccomp="mode=retain,errno=EPERM,chmod",
        ),
    )


def test_old_names_of_the_capability_flags(capfd: pytest.CaptureFixture[str]) -> None:
    (app,) = apps("a --cap-retain=CAP_KILL --cap-remove=CAP_MKNOD")
    assert (app.caps_retain, app.caps_remove) == (("CAP_KILL",), ("CAP_MKNOD",))
    assert capfd.readouterr().err == (
        "Flag --cap-retain has been deprecated, use --caps-retain instead\n"
        "Flag --cap-remove has been deprecated, use --caps-remove instead\n"
    )


def test_mounts_before_the_first_image_are_for_all() -> None:
    arguments = parse(["run", "--volume=v,kind=empty", "--mount", "volume=v,target=/all", "a", "--mount=volume=v,target=/a", "b"])
    assert of(arguments).mounts == [("v", "/all")]
    assert [app.mounts for app in of(arguments).apps()] == [(("v", "/a"),), ()]


def test_flags_of_the_pod_may_stand_between_images() -> None:
    arguments = parse(
        ["run", "a", "--net=host", "--volume=v,kind=host,source=/s,readOnly=true", "b", "--port=http:127.0.0.1:80", "--debug"]
    )
    assert arguments.repeated("net") == ("host",)
    assert arguments.switch("debug")
    (volume,) = arguments.volumes
    assert (volume.name, volume.kind, volume.source, volume.read_only) == ("v", "host", "/s", True)
    (port,) = arguments.ports
    assert (port.name, port.host_ip, port.host_port) == ("http", "127.0.0.1", 80)


words = st.text(st.characters(blacklist_categories=(), min_codepoint=33, max_codepoint=0xFF), min_size=1, max_size=6)


@st.composite
def pods(draw: st.DrawFn) -> tuple[list[tuple[str, dict[str, str], list[str]]], list[str]]:
    """Images with flags and arguments, and one of the ways to write them."""
    line: list[str] = []
    images: list[tuple[str, dict[str, str], list[str]]] = []
    for image in draw(st.lists(words.filter(lambda word: word[0] != "-"), max_size=4)):
        texts = draw(st.dictionaries(st.sampled_from(["name", "user", "group", "working-dir", "exec"]), words, max_size=3))
        args = draw(st.lists(words.filter(lambda word: word != "---"), max_size=4))
        line.append(image)
        for name, value in texts.items():
            line += [f"--{name}={value}"] if draw(st.booleans()) else [f"--{name}", value]
            line += draw(st.sampled_from([[], [], [""], ["---"], ["--debug"]]))
        if args or draw(st.booleans()):
            line += ["--", *args, "---"]
        images.append((image, texts, args))
    if images and line[-1] == "---" and draw(st.booleans()):
        line.pop()
    return images, line


@given(pods())
def test_every_way_to_write_images_reads_the_same(case: tuple[list[tuple[str, dict[str, str], list[str]]], list[str]]) -> None:
    images, line = case
    arguments: Arguments = parse(["prepare", *line])
    got = of(arguments).apps()
    assert [(app.image, app.args) for app in got] == [(image, tuple(args)) for image, _texts, args in images]
    for app, (_image, texts, _args) in zip(got, images, strict=True):
        assert (app.name, app.user, app.group, app.working_directory, app.exec) == tuple(
            texts.get(name) for name in ("name", "user", "group", "working-dir", "exec")
        )
