"""A foreign stage1 image made of shell scripts, which write down how they were called; and an app image to go with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rktpy.formats.aci.types import NameValue
from rktpy.stage0.images import host_arch
from rktpy.store.image_record import ImageRecord
from rktpy.store.store import Store
from tests.support import archives


# Each script writes its arguments, directory, environment and view of the mounts into $PWD/called.<name>.*
def _script(name: str, body: str) -> bytes:
    return (_RECORD.replace("NAME", name) + body).encode()


_RECORD = """#!/bin/sh
{ printf '%s\\n' "$0" "$@"; } > called.NAME.args
pwd > called.NAME.cwd
env > called.NAME.env
cat /proc/self/mountinfo > called.NAME.mounts
ls /proc/self/fd > called.NAME.fds
[ -z "$RKT_LOCK_FD" ] || stat -L -c %i /proc/self/fd/$RKT_LOCK_FD /proc/self/fd/$RKT_LOCK_FD/.. > called.NAME.lock
"""

RUN = """
for app in stage1/rootfs/opt/stage2/*; do
    [ -d $app ] || continue
    ls $app/rootfs > called.run.app-${app##*/}
done
cp stage1/rootfs/etc/rkt-* . 2> /dev/null
echo $$ > PIDFILE
mkdir -p stage1/rootfs/rkt/status
for app in stage1/rootfs/opt/stage2/*; do
    [ -d $app ] || continue
    echo changed > $app/rootfs/changed-by-stage1
    rm $app/rootfs/gone
    echo 7 > stage1/rootfs/rkt/status/${app##*/}
done
ln -s ready stage1/rootfs/rkt/supervisor-status
if [ -n "$STUB_HOLD" ]; then
    trap "exit 9" TERM
    sleep 1000 &
    wait
fi
exit 7
"""
STOP = """
ls stage1/rootfs/rkt/status > called.stop.status
for pid in $(cat pid ppid 2> /dev/null); do
    kill -9 $pid $(cat /proc/$pid/task/$pid/children)
done
"""

ENTER = """
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""

GC = """
[ -n "$STUB_GC_TO" ] || exit 0
cp called.gc.* stage1/rootfs/marker "$STUB_GC_TO"
cat stage1/rootfs/rkt/status/* > "$STUB_GC_TO/status"
"""

# What the pod's own processes have to have done to the app: its root is there and can be written.
APP_ADD = """
for word; do case $word in --app=*) app=${word#--app=} ;; esac; done
[ "$app" != refused ] || exit 3
root=stage1/rootfs/opt/stage2/$app/rootfs
ls $root > called.app-add.root
echo changed > $root/changed-by-stage1
cp stage1/rootfs/rkt/env/$app called.app-add.envfile
touch stage1/rootfs/unit-of-$app
echo added
"""

APP_RM = """
for word; do case $word in --app=*) app=${word#--app=} ;; esac; done
rm stage1/rootfs/unit-of-$app
"""

APP_START = """
for word; do case $word in --app=*) app=${word#--app=} ;; esac; done
[ "$app" != broken ] || exit 1
$RKT_STAGE1_ENTERCMD --pid=$RKT_STAGE1_ENTERPID --app=$RKT_STAGE1_ENTERAPP -- touch entered-for-$app
"""

APP_STOP = """
for word; do case $word in --app=*) app=${word#--app=} ;; esac; done
[ -e stage1/rootfs/rkt/status/$app-started ] || exit 5
echo 9 > stage1/rootfs/rkt/status/$app
"""

ATTACH = """
cat
exit 4
"""


def members(pidfile: str = "pid", missing: str = "") -> list[archives.Member]:
    """The files of the stub's root, without the script ``missing``."""
    scripts = {"run": RUN.replace("PIDFILE", pidfile), "stop": STOP, "enter": ENTER, "gc": GC, "attach": ATTACH}
    scripts |= {"app-add": APP_ADD, "app-rm": APP_RM, "app-start": APP_START, "app-stop": APP_STOP}
    return [
        archives.directory("usr"),
        archives.directory("usr/lib"),
        *[archives.file(f"usr/lib/{name}", _script(name, body), 0o755) for name, body in scripts.items() if name != missing],
        archives.file("marker", b"from the stub\n"),
    ]


ENTRIES = ("run", "stop", "enter", "gc", "attach", "app/add", "app/rm", "app/start", "app/stop")


def stage1_aci(
    version: str | None = "6",
    pidfile: str = "pid",
    name: str = "example.com/stage1-stub",
    missing: str = "",
    entries: tuple[str, ...] = ENTRIES,
) -> bytes:
    """The stub as an ACI that speaks interface ``version`` (None: says nothing)."""
    annotations = [
        {"name": f"coreos.com/rkt/stage1/{entry}", "value": f"/usr/lib/{entry.replace('/', '-')}"} for entry in entries
    ]
    if version is not None:
        annotations.append({"name": "coreos.com/rkt/stage1/interface-version", "value": version})
    return archives.aci(members(pidfile, missing), archives.manifest(name, labels=LABELS, annotations=annotations))


LABELS = [{"name": "os", "value": "linux"}, {"name": "arch", "value": host_arch()}, {"name": "version", "value": "1"}]


def app_aci(name: str = "example.com/app", **app: Any) -> bytes:
    """An image with one file and an app section."""
    settings = {"exec": ["/bin/true"], "user": "0", "group": "0", **app}
    files = [archives.directory("etc"), archives.file("hello", b"hello\n"), archives.file("gone", b"x")]
    return archives.aci(files, archives.manifest(name, labels=LABELS, app=settings))


def add(store: Store, directory: Path, aci: bytes) -> str:
    """Put an ACI into a store without asking who signed it; returns its ID."""
    file = directory / "image.aci"
    file.write_bytes(aci)
    imported = store.import_aci(str(file))
    document = json.loads(imported.manifest_bytes)
    labels = tuple(NameValue(label["name"], label["value"]) for label in document.get("labels", ()))
    record = ImageRecord(
        imported.id, "aci", document["name"], labels, import_time=1, size=imported.size, blobs=(imported.digest,)
    )
    store.add_image(record, imported.manifest_bytes)
    store.close()
    return imported.id
