"""Apps that come to and leave a machine that runs: what the monitor does for ``app/add`` and ``app/rm``. Hot-path module."""

from __future__ import annotations

from rktpy.errors import innermost
from rktpy.isolate.pod_app import load_apps
from rktpy.stage1.kvm.frames import strings
from rktpy.stage1.kvm.guest_plan import app_directory
from rktpy.stage1.kvm.pod_log import AppLog
from rktpy.stage1.kvm.share import SHARE_DIR, remove_places
from rktpy.stage1.kvm.specs import Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.stage1.kvm.control import Client
    from rktpy.stage1.kvm.monitor import AppState, Monitor


def add(monitor: Monitor, client: Client, words: list[bytes]) -> None:
    """``add NAME OPERATIONS STREAMS NOTIFIES VARIABLES PAIRS``: have the guest make the app, then know it."""
    if len(words) != 7:
        client.answer("unknown request")
        return
    name = words[1].decode("utf-8", "surrogateescape")
    if name in monitor.apps:
        client.answer("there is such an app")
        return
    from rktpy.stage1.kvm.frames import read_strings

    variables = [variable.decode("utf-8", "surrogateescape").partition("=") for variable in read_strings(words[5])]
    pairs: list[str | bytes] = []
    for index, word in enumerate(read_strings(words[6])):
        pairs.append(word.decode("ascii") if index % 2 == 0 else word)
    spec = Spec(tuple(pairs), words[3].decode("ascii"), words[4] == b"yes", {key: value for key, _equals, value in variables})
    _manifest, apps = load_apps("")
    app = next((one for one in apps if one.name == name), None)
    if app is None or monitor.log is None:
        client.answer("no such app")
        return
    log = AppLog(app, monitor.log)

    def made(problem: str | None) -> None:
        if problem is not None:
            log.close()
            client.answer(problem)
            return
        state = monitor.add(name, spec, log)
        monitor.channel.request("a", spec.data(), known, state.id)

    def known(problem: str | None) -> None:
        if problem is not None:
            monitor.forget(name)
        client.answer(problem)

    monitor.channel.request("o", words[2], made)


def remove(monitor: Monitor, client: Client, app: AppState, name: str) -> None:
    """``remove NAME``: forget an app that does not run, and take its root down in the guest."""
    if app.running:
        client.answer("it is running")
        return
    monitor.forget(name)

    def done(problem: str | None) -> None:
        try:
            remove_places(SHARE_DIR, name)
        except OSError as error:
            problem = problem or innermost(error)
        client.answer(problem)

    monitor.channel.request("o", strings([strings(("unmount", app_directory(name)))]), done)
