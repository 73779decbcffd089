#!/bin/sh
# Install what the tests need on a bare Debian 12 (as root) and run them all:
#
#     sh test.sh               linters and every test
#     sh test.sh tests/unit    arguments go to pytest
#     sh test.sh --vm [--profile apparmor|selinux] tests/integration/test_systemd_ready.py
#                              the same on a Debian host in QEMU: systemd as PID 1, cgroup v2 (python -m tests.vm --help)
#     sh test.sh --packages    only list the Debian packages
#
# The tests that act as root run in namespaces of their own (tests/sandbox.py).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cd "$here"
python=/usr/bin/python3

packages="python3 python3-venv python3-dev gcc libc6-dev libsystemd-dev pkg-config gnupg gpgv ca-certificates busybox-static
    skopeo umoci podman buildah runc crun conmon docker-registry apache2-utils openssl mmdebstrap iproute2 zstd xz-utils bzip2 attr libcap2-bin
    strace shellcheck groff git tar util-linux mount tzdata procps e2fsprogs curl containernetworking-plugins iptables
    systemd systemd-container dbus systemd-journal-remote containerd zsh fish debhelper apparmor
    python3-pip python3-lz4 python3-nacl python3-networkx python3-gnupg python3-systemd python3-yaml"
if [ "${1:-}" = --packages ]; then
    # shellcheck disable=SC2086  # a list of words
    printf '%s\n' $packages
    exit
fi
if [ "$(id -u)" = 0 ]; then
    missing=
    # What virtual machines need: the test host (tests/vm), and pods of stage1-kvm, which are not tested inside it.
    for package in $packages qemu-system-x86 qemu-system-common qemu-utils linux-image-cloud-amd64 erofs-utils cpio; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
    if [ -n "$missing" ]; then
        apt-get update -q
        # shellcheck disable=SC2086  # a list of words
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
    fi
fi

venv=$here/.venv
[ -x "$venv/bin/python" ] || $python -m venv "$venv"
"$venv/bin/pip" install -q --disable-pip-version-check --upgrade setuptools wheel
"$venv/bin/pip" install -q --disable-pip-version-check --no-build-isolation -e ".[api,fast,test]"

export PATH="$venv/bin:$PATH"
# For the Debian package, which is built in the sandbox as well.
"$venv/bin/pip" download -q --disable-pip-version-check --only-binary :all: -d "$venv/wheels" -r debian/vendored.txt
# pyright fetches its program when it is first called; the sandbox has no network.
"$venv/bin/pyright" --version >/dev/null || echo "test.sh: pyright could not be fetched" >&2
export RKTPY_TEST_REQUIRE_TOOLS="${RKTPY_TEST_REQUIRE_TOOLS:-1}"
if [ "${1:-}" = --vm ]; then
    shift
    exec "$venv/bin/python" -m tests.vm run "$@"
fi
if [ "$#" = 0 ]; then
    set -- tests
fi
case " $* " in
*" tests "* | *" tests/vm"*)
    # The test host's image is made of Debian's packages; the sandbox has no network.
    [ "$(id -u)" != 0 ] || "$venv/bin/python" -m tests.vm build || echo "test.sh: the test host could not be built" >&2
    ;;
esac
exec "$venv/bin/python" tests/sandbox.py "$venv/bin/python" -m pytest -n 2 --dist loadfile -q "$@"
