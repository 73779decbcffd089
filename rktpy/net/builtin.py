"""The networks that need no configuration, as rkt 1.30 has them in ``stage1/net/rootfs/etc/rkt/net.d``.

A user's network of the same name replaces them. The newest version here is that of the oldest plugins in use that have it, so
that no plugin has to be asked what it speaks. Hot-path module.
"""

from __future__ import annotations

DEFAULT = "default"
RESTRICTED = "default-restricted"

_VERSIONS = b'"cniVersion":"1.0.0","cniVersions":["0.3.1","0.4.0"]'

#: Name -> name of the file that it would be in, content. The file names keep rkt's order of the interfaces.
BUILTIN: dict[str, tuple[str, bytes]] = {
    DEFAULT: (
        "99-default.conflist",
        b"{" + _VERSIONS + b',"name":"default","plugins":[{"type":"ptp","ipMasq":true,"ipam":'
        b'{"type":"host-local","subnet":"172.16.28.0/24","routes":[{"dst":"0.0.0.0/0"}]}}]}',
    ),
    RESTRICTED: (
        "99-default-restricted.conflist",
        b"{" + _VERSIONS + b',"name":"default-restricted","plugins":[{"type":"ptp","ipMasq":false,"ipam":'
        b'{"type":"host-local","subnet":"172.31.0.0/16","routes":[]}}]}',
    ),
}
