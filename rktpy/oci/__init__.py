"""The low-level runtime: runc's command line, one container per bundle (OCI runtime specification 1.2).

    <root>/<id>/            root is --root, /run/rktpy-oci by default
        state.json          what was made: process, control groups, namespaces; written once, by rename
        config.json         the bundle's configuration as it was when the container was made
        exec.fifo           there until the container is started

`create` makes the container's first process, which waits; `start` lets it go. Whatever is known of a container is in these
files and in the kernel: no process of ours stays but that of `run` in the foreground.
"""
