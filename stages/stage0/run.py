"""Running a pod: stage0 becomes stage1.

The pod moves to ``run`` with its lock held, gets a mount namespace of its own, in which its overlays are mounted, and then this
process executes the stage1's run entry point (or, for a bundled stage1, calls it), which inherits the lock. Nothing is mounted in
the host's namespace, so nothing of this outlives the pod's processes, however they end.

The contract with stage1 is rktpy-stage1(7) (rkt 1.30 ``stage0/run.go``): working directory, arguments by interface version,
environment. Hot-path module.
"""

from __future__ import annotations

import os

from rktpy.errors import NotEnforced, RktpyError, StateError, UsageError
from rktpy.formats import stage1 as contract
from rktpy.linux.constants import CLONE_NEWNS, MS_REC, MS_SHARED, MS_SLAVE
from rktpy.linux.syscalls import mount, unshare
from rktpy.log import debug, note
from rktpy.stage0 import images, podmanifest, stage1_image
from rktpy.stage0.mtab import link_mtab
from rktpy.stage0.overlay import mount_overlay
from rktpy.stage0.pod_files import TRUST_FILE
from rktpy.stage0.pod_states import PREPARED, quoted
from rktpy.stage0.pods import find_pod
from rktpy.stage0.prepare import STRICT_FILE, create
from rktpy.stage0.replace_file import replace_file
from rktpy.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.stage1 import EntryPoints
    from rktpy.stage0.dns import DNSMode
    from rktpy.stage0.options import Globals, PodOptions, RunOptions
    from rktpy.stage0.pods import Pod


def run(g: Globals, options: PodOptions, run: RunOptions) -> int:
    """Prepare a pod and run it. The process becomes stage1; if a bundled one comes back, its exit status is returned.

    Raises RktpyError, OSError until then.
    """
    networks = net_list(run.net)
    if options.ports:
        for name in ("none", "host"):
            if name in networks:
                raise UsageError(f"--port flag does not work with '{name}' networking")
    if run.interactive and len(options.apps) > 1:
        raise UsageError("interactive option only supports one image")
    mode = _check(run, networks)
    podmanifest.check_options(options)
    store = Store(g.data_dir)
    stage1 = stage1_image.choose(g, store, options.stage1)
    strict = run.strict or options.strict
    if options.mutable or (stage1.image_id and (strict or run.dry_run)):
        check_promises(stage1_image.offered(store, stage1), run, strict=strict, mutable=options.mutable)
    pod = create(g, store, options, stage1, uuid_file=run.uuid_file_save, to_run=True)
    if options.pod_manifest and pod.is_mutable:
        check_promises(stage1_image.entry_points(pod), run, strict=strict, mutable=True)
    if run.interactive and len(pod.app_names()) > 1:
        raise UsageError("interactive option only supports pods with one app")
    if run.dry_run:
        return _dry_run(g, store, pod, run, mode, strict=strict, remove=True)
    pod.to_run()
    return _start(g, store, pod, run, mode, strict=strict)


def run_prepared(g: Globals, uuid: str, run: RunOptions) -> int:
    """Run a prepared pod, named by its UUID or a prefix. Returns and raises as :func:`run`."""
    mode = _check(run, net_list(run.net))
    pod = find_pod(g.data_dir, uuid, "problem retrieving pod")
    if pod.state != PREPARED:
        raise StateError(f"pod {quoted(pod.uuid)} is not prepared")
    pod.detach()
    store = Store(g.data_dir)
    with store.prepare_lock(exclusive=False):
        manifest = pod.manifest()
        if run.interactive and len(manifest.apps) > 1:
            raise UsageError("interactive option only supports pods with one app")
        trust = images.recheck(g, store, manifest, pod.read_optional(TRUST_FILE))
        for app in manifest.apps:
            tree_id = pod.tree_id(app.name)
            if tree_id is not None and not store.tree_ready(tree_id) and store.ensure_tree(app.image.id) != tree_id:
                # Rendered anew after a restart of the machine, from other dependencies than before.
                raise StateError(f"the tree of app {app.name} is not there any more: prepare the pod again")
        _ensure_stage1_tree(store, pod)
        strict = run.strict or pod.exists(STRICT_FILE)
        check_promises(stage1_image.entry_points(pod), run, strict=strict, mutable=pod.is_mutable)
        if run.dry_run:
            if not pod.lock():
                raise StateError(f"pod {quoted(pod.uuid)} is not prepared")
            return _dry_run(g, store, pod, run, mode, strict=strict, remove=False)
        pod.to_run()
    replace_file(pod, TRUST_FILE, trust)
    return _start(g, store, pod, run, mode, strict=strict)


def _ensure_stage1_tree(store: Store, pod: Pod) -> None:
    """Render the tree of a foreign stage1 again if a restart of the machine made it doubtful. Raises RktpyError."""
    tree_id = pod.stage1_tree_id
    if tree_id is None or not pod.uses_overlay or store.tree_ready(tree_id):
        return
    from rktpy.store.trees import image_of

    image_id = image_of(store.layout, tree_id)
    if not image_id or store.ensure_tree(image_id) != tree_id:
        raise StateError("the tree of stage1 is not there any more: prepare the pod again")


def check_promises(points: EntryPoints, run: RunOptions, *, strict: bool, mutable: bool = False) -> None:
    """Refuse what this stage1 cannot keep and what must not be dropped in silence. Raises NotEnforced, UsageError."""
    version = points.interface_version
    if mutable and (version < contract.MUTABLE_SINCE or not points.mutable):
        raise UsageError("stage1 does not support mutable pods")
    if version < contract.REPORT_SINCE:
        if strict:
            raise NotEnforced(f"--strict: this stage1 (interface version {version}) does not tell what it enforces")
        if run.dry_run:
            raise UsageError(f"--dry-run: this stage1 (interface version {version}) cannot tell its plan")


def net_list(values: tuple[str, ...]) -> dict[str, str]:
    """The networks of ``--net`` with their arguments, in order. Raises UsageError with rkt's messages."""
    networks: dict[str, str] = {}
    for value in values:
        for entry in value.split(","):
            name, *arguments = entry.split(":")
            if not name:
                raise UsageError("netname must not be empty")
            if name in networks:
                raise UsageError(f"found duplicate netname {quoted(name)}")
            if len(arguments) > 1:
                raise UsageError(f"network {quoted(name)} provided with invalid arguments: {':'.join(arguments)}")
            if arguments and name in ("all", "host"):
                raise UsageError(f"arguments are not supported by special netname {quoted(name)}")
            networks[name] = arguments[0] if arguments else ""
    return networks or {"default": ""}


def _check(run: RunOptions, networks: dict[str, str]) -> DNSMode | None:
    mode = None
    if run.dns or run.dns_search or run.dns_options or run.dns_domain or run.hosts_entries:
        from rktpy.stage0.dns import dns_mode

        mode = dns_mode(run)
    if run.mds_register:
        from rktpy.stage0.metadata import check_available

        if "none" in networks:
            raise UsageError(
                "--mds-register flag does not work with --net=none. Please use 'host', 'default' or an equivalent network"
            )
        check_available()
    return mode


def _start(g: Globals, store: Store, pod: Pod, run: RunOptions, mode: DNSMode | None, *, strict: bool) -> int:
    token = ""
    if run.mds_register:
        from rktpy.stage0.metadata import register

        token = register(pod)
    # A bundled stage1 may stay in this process for as long as the pod lives.
    store.close()
    return _become_stage1(g, store, pod, run, mode, strict=strict, token=token)


def _become_stage1(
    g: Globals, store: Store, pod: Pod, run: RunOptions, mode: DNSMode | None, *, strict: bool, token: str = ""
) -> int:
    """Set the pod's namespace up and go over to stage1. Returns the exit status if a bundled stage1 comes back."""
    bundled = pod.bundled_stage1
    points = stage1_image.entry_points(pod)
    arguments = run_arguments(
        g,
        run,
        pod.uuid,
        points.interface_version,
        private_users=(pod.read_optional(contract.PRIVATE_USERS_FILE) or b"").decode(),
        mode=mode,
        token=token,
        strict=strict,
        mutable=pod.is_mutable,
    )
    os.chdir(pod.path)
    enter_mount_namespace()
    # The pod's own descriptor leads past what is mounted here.
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    mount_roots(store, pod, here)
    if mode is not None:
        from rktpy.stage0.dns import write_dns_files

        write_dns_files(run, mode, here)
    os.close(here)
    os.set_inheritable(pod.fileno(), True)
    os.environ[contract.LOCK_FD] = str(pod.fileno())
    os.environ[contract.SELINUX_CONTEXT] = ""
    os.environ[contract.SELINUX_MOUNT_CONTEXT] = ""
    if bundled is not None:
        module = stage1_image.bundled_module(bundled, "run")
        debug("stage0", f"Calling stage1 {bundled} {arguments}")
        status: int = module.main(arguments)
        return status
    program = f"{pod.path}/{contract.STAGE1_ROOTFS}/{points.run}"
    debug("stage0", f"Execing {[program, *arguments]}")
    try:
        os.execv(program, [program, *arguments])
    except OSError as error:
        raise RktpyError("error execing init") from error


def run_arguments(
    g: Globals,
    run: RunOptions,
    uuid: str,
    version: int,
    *,
    private_users: str = "",
    mode: DNSMode | None = None,
    token: str = "",
    strict: bool = False,
    mutable: bool = False,
) -> list[str]:
    """The arguments of the run entry point of a stage1 that speaks interface ``version``.

    What an old stage1 does not know is left out with a warning, as rkt does. Raises UsageError for a mutable pod where there are
    none; see also :func:`check_promises`.
    """
    networks = [f"{name}:{arguments}" if arguments else name for name, arguments in net_list(run.net).items()]
    arguments = ["--debug"] if g.debug else []
    arguments.append(f"--net={','.join(networks)}")
    if run.interactive:
        arguments.append("--interactive")
    if private_users:
        arguments.append(f"--private-users={private_users}")
    if token:
        arguments.append(f"--mds-token={token}")
    if g.local_config:
        arguments.append(f"--local-config={g.local_config}")
    optional = (
        ("--hostname", f"--hostname={run.hostname}" if run.hostname else "", contract.HOSTNAME_SINCE),
        ("--dns-conf-mode", mode.argument if mode is not None else "", contract.DNS_CONF_MODE_SINCE),
    )
    for name, argument, since in optional:
        if argument:
            _add(arguments, name, argument, version, since)
    if version >= contract.INSECURE_SINCE:
        if g.insecure.capabilities:
            arguments.append("--disable-capabilities-restriction")
        if g.insecure.paths:
            arguments.append("--disable-paths")
        if g.insecure.seccomp:
            arguments.append("--disable-seccomp")
    if mutable:
        if version < contract.MUTABLE_SINCE:
            raise UsageError("stage1 does not support mutable pods")
        arguments.append("--mutable")
    if run.ipc:
        _add(arguments, "--ipc", f"--ipc={run.ipc}", version, contract.IPC_SINCE)
    if strict:
        arguments.append("--strict")
    if run.dry_run:
        arguments.append("--dry-run")
    arguments.append(uuid)
    return arguments


def _add(arguments: list[str], name: str, argument: str, version: int, since: int) -> None:
    if version >= since:
        arguments.append(argument)
    else:
        note("stage0", f"warning: {name} option is not supported by stage1")


def enter_mount_namespace() -> None:
    """Give this process a mount namespace of its own that still sees what the host mounts later. Raises RktpyError."""
    try:
        unshare(CLONE_NEWNS)
        mount(None, "/", None, MS_REC | MS_SLAVE, None)
    except OSError as error:
        raise RktpyError("cannot make a mount namespace for the pod") from error


def mount_roots(store: Store, pod: Pod, fd: int) -> None:
    """Mount stage1's overlay, if it is a foreign one, and those of the apps.

    The pod's directory is the working directory, and open as ``fd`` in this mount namespace. Raises RktpyError.
    """
    overlay = pod.uses_overlay
    users = None
    if pod.exists(contract.PRIVATE_USERS_FILE):
        from rktpy.stage0.private_users import pod_range

        users = pod_range(pod)
    tree_id = pod.stage1_tree_id
    if overlay and tree_id is not None:
        mount_overlay(fd, tree_id, store.tree_path(tree_id) + "/rootfs", contract.STAGE1_ROOTFS, users=users)
        # The status is read from the upper layer later, so the directory has to be there.
        _make_dirs(fd, f"{contract.STAGE1_ROOTFS}/{contract.STATUS_DIR}")
        os.utime(f"{contract.STAGE1_ROOTFS}/{contract.STATUS_DIR}")
        if pod.is_mutable:
            # A stage1 that makes a mount namespace of its own receives what is mounted here for apps that are added later.
            mount(None, contract.STAGE1_ROOTFS, None, MS_SHARED, None)
    for name in pod.app_names():
        rootfs = contract.app_rootfs(name)
        tree_id = pod.tree_id(name)
        if overlay and tree_id is not None:
            _make_dirs(fd, rootfs)
            _copy_file(fd, f"{contract.APPS_INFO_DIR}/{name}/manifest", f"{contract.app_dir(name)}/manifest")
            mount_overlay(fd, tree_id, store.tree_path(tree_id) + "/rootfs", rootfs, name, users)
        link_mtab(fd, rootfs, users)


def _make_dirs(pod_fd: int, path: str) -> None:
    made = ""
    for part in path.split("/"):
        made = f"{made}/{part}" if made else part
        try:
            os.mkdir(made, 0o755, dir_fd=pod_fd)
        except FileExistsError:
            pass


def _copy_file(pod_fd: int, source: str, target: str) -> None:
    from rktpy.stage0.pod_files import read_file_at

    data = read_file_at(pod_fd, source)
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640, dir_fd=pod_fd)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def _dry_run(g: Globals, store: Store, pod: Pod, run: RunOptions, mode: DNSMode | None, *, strict: bool, remove: bool) -> int:
    """Let stage1 print its plan in a child; the pod is as it was afterwards, or gone."""
    path = pod.path
    child = os.fork()
    if child == 0:
        status = 254
        try:
            status = _become_stage1(g, store, pod, run, mode, strict=strict)
        except (RktpyError, OSError) as error:
            from rktpy.errors import innermost

            note("stage0", innermost(error))
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if remove:
        from rktpy.linux.remove_tree import remove_tree

        remove_tree(path)
    return status if status >= 0 else 254
