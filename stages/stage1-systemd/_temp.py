import ctypes, os, struct
from rktpy.cgroup.hierarchy import discover
from rktpy.cgroup.subtree import Group, Subtree
def clone3(flags, cgroup_fd):
    pidfd = ctypes.c_int(-1)
    args = struct.pack("=11Q", flags | 0x1000, ctypes.addressof(pidfd), 0, 0, 17, 0, 0, 0, 0, 0, 0)
    buf = ctypes.create_string_buffer(args, 88)
    pid = ctypes.CDLL(None, use_errno=True).syscall(435, buf, 88)
    if pid < 0: raise OSError(ctypes.get_errno(), "clone3")
    return pid, pidfd.value
def make_pod_groups(uuid, before):
    hs = [h for h in discover() if h.directory(h.own)]
    sub = Subtree(tuple(Group(h.version, f"{h.directory(h.own)}/rktpy-{uuid}", f"{h.own.rstrip('/')}/rktpy-{uuid}", h.controllers) for h in hs))
    before(sub)
    for g in sub.groups:
        os.mkdir(g.directory)
        for f in ("cpuset.cpus", "cpuset.mems"):
            try:
                d = open(os.path.dirname(g.directory)+"/"+f).read()
                open(g.directory+"/"+f, "w").write(d)
            except OSError: pass
    return sub
