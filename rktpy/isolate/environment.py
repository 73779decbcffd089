"""The environment of the app.

The app's own variables, over what appc/spec 0.8.11 ``spec/ace.md`` demands (PATH, AC_APP_NAME, container) and what rkt's fly
adds (HOME, USER, LOGNAME, SHELL). rkt always adds root's; here they are those of the user the app runs as, from the image's
/etc/passwd, and root's when there is no entry and the app runs as root. Nothing of the caller's environment is passed on.
Hot-path module.
"""

from __future__ import annotations

from rktpy.formats.stage1 import APP_NAME, DEFAULT_PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.aci.manifest import App
    from rktpy.isolate.users import User


def app_environment(name: str, app: App, user: User) -> dict[str, str]:
    """The variables of the app called ``name``."""
    environment = {"PATH": DEFAULT_PATH, APP_NAME: name, "container": "rktpy", "SHELL": "/bin/sh", "HOME": "/"}
    account = user.account
    if account is not None:
        environment["USER"] = environment["LOGNAME"] = account.name
        environment["HOME"] = account.home or "/"
        environment["SHELL"] = account.shell or "/bin/sh"
    elif user.uid == 0:
        environment["USER"] = environment["LOGNAME"] = "root"
        environment["HOME"] = "/root"
    for variable in app.environment:
        environment[variable.name] = variable.value
    return environment


def environment_file(environment: dict[str, str]) -> bytes:
    """The content of ``rkt/env/<app>``: one ``NAME=value`` a line, as rkt writes it."""
    return "".join([f"{name}={value}\n" for name, value in environment.items()]).encode("utf-8", "surrogateescape")
