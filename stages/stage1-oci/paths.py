"""Files of a pod's directory that are this stage1's, relative to it; those of the contract are in rktpy.formats.stage1.

::

    oci/
        runtime             which runtime the pod has, and its arguments (a JSON object)
        state/              the runtime's own directory (its --root)
        sandbox/            bundle of the container that holds the pod's namespaces: config.json, rootfs/
        apps/<app>/         bundle of an app: config.json, conmon's attach and ctl
            pre-start/<n>/  bundles of its event handlers; also post-stop/<n>/
        conmon/<app>        the process ID of the app's conmon; <app>.container that of the container
        ended/<app>         the exit status of an app whose post-stop handlers have not run yet
        logs/<app>.log      what the app writes (Kubernetes kubelet-cri-logging)
        volumes/<app>/<n>   volumes that are read-only with what is mounted below them
        shm/                /dev/shm of all apps
        names               how apps get their /etc/resolv.conf and /etc/hosts
        monitor             the process ID of the monitor
        first-failure       the exit status of the app that failed first

Containers are called by their apps' names, the one of the pod ``pod.``, which no app can be called. Hot-path module.
"""

from __future__ import annotations

OCI = "oci"
RUNTIME_FILE = "oci/runtime"
STATE = "oci/state"
SANDBOX_BUNDLE = "oci/sandbox"
APPS = "oci/apps"
CONMON = "oci/conmon"
ENDED = "oci/ended"
SHM = "oci/shm"
VOLUMES = "oci/volumes"
NAMES_FILE = "oci/names"
#: The process ID of the monitor, which holds the lock of the pod.
MONITOR_FILE = "oci/monitor"
FIRST_FAILURE = "oci/first-failure"
#: ID of the container that holds the pod's namespaces.
SANDBOX = "pod."
