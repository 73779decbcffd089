"""A Debian host in QEMU for the tests: systemd as PID 1, cgroup v2 alone, AppArmor or SELinux.

    python -m tests.vm run tests/integration/test_systemd_ready.py

The way of a run, each step kept for the next run as long as what it was made from is the same::

    packages, environment, guest/  --image-->  disk.img  --boot-->  booted.qcow2 + memory  --restore-->  a host for this run
"""
