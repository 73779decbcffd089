#!/bin/sh
# Install rktpy on a bare Debian 12 (as root) and run a first image:
#
#     sh install.sh            everything below
#     sh install.sh --no-demo  without the first image
#     sh install.sh --kvm      also what pods in virtual machines need: QEMU, and a kernel for them in /boot
#
# Nothing but the package registries is needed. rktpy goes to /usr/local/lib/rktpy, its launcher to /usr/local/bin/rktpy.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
prefix=${RKTPY_PREFIX:-/usr/local}
python=/usr/bin/python3
demo=yes
kvm=no
for option; do
    case $option in
        --no-demo) demo=no ;;
        --kvm) kvm=yes ;;
        *) echo "install.sh: unknown option $option" >&2; exit 1 ;;
    esac
done

[ "$(id -u)" = 0 ] || { echo "install.sh: must be run as root" >&2; exit 1; }

packages="python3 python3-venv python3-dev gcc libc6-dev libsystemd-dev pkg-config gnupg gpgv ca-certificates busybox-static
    systemd containernetworking-plugins iptables"
# A kernel among the packages of a machine is one that it may boot next time, so it is not installed unless it is asked for.
[ "$kvm" = no ] || packages="$packages qemu-system-x86 qemu-system-common linux-image-cloud-amd64 erofs-utils e2fsprogs"
missing=
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    apt-get update -q
    # shellcheck disable=SC2086  # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
fi

lib=$prefix/lib/rktpy
mkdir -p "$lib" "$prefix/bin"
[ -x "$lib/venv/bin/python" ] || $python -m venv "$lib/venv"
"$lib/venv/bin/pip" install -q --disable-pip-version-check --upgrade setuptools wheel
"$lib/venv/bin/pip" install -q --disable-pip-version-check "systemd-python>=234"
# Built from a copy, so that a checkout that belongs to somebody else stays as it is.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -a "$here/." "$copy/"
rm -rf "$copy/build" "$copy/.venv" "$copy"/*.egg-info
"$lib/venv/bin/pip" install -q --disable-pip-version-check --force-reinstall --no-deps "$copy"
"$lib/venv/bin/pip" install -q --disable-pip-version-check "${copy}[api,fast]"
"$lib/venv/bin/python" -m compileall -q "$lib/venv/lib" || true

site=$("$lib/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
"$python" "$here/rktpy/launcher.py" "$prefix/bin/rktpy" "$python" "$site"
for kind in system user; do
    # Where systemd looks for generators of the administrator's own.
    mkdir -p "$prefix/lib/systemd/$kind-generators"
    "$python" "$here/rktpy/launcher.py" --generator="$prefix/bin/rktpy" \
        "$prefix/lib/systemd/$kind-generators/rktpy-$kind-generator" "$python" "$site"
done
# The low-level runtime: the program that starts it where it could be built, else its script.
"$python" -IS -X no_debug_ranges "$site/rktpy/oci/bundle.py" "$site/rktpy/oci/__pycache__"
chmod 755 "$site/rktpy/oci/rktpy-oci"
if [ -x "$site/rktpy/oci/launch" ]; then
    ln -sf "$site/rktpy/oci/launch" "$prefix/bin/rktpy-oci"
else
    ln -sf "$site/rktpy/oci/rktpy-oci" "$prefix/bin/rktpy-oci"
fi
# Not enabled: they are there for "systemctl enable --now rktpy-gc.timer rktpy-image-gc.timer" and the like.
mkdir -p "$prefix/lib/systemd/system"
for unit in "$here"/init/systemd/*; do
    sed "s|/usr/local/bin/rktpy|$prefix/bin/rktpy|" "$unit" >"$prefix/lib/systemd/system/$(basename "$unit")"
done
mkdir -p /etc/tmpfiles.d /etc/sysusers.d
cp "$here/init/tmpfiles.d/rktpy.conf" /etc/tmpfiles.d/rktpy.conf
cp "$here/init/sysusers.d/rktpy.conf" /etc/sysusers.d/rktpy.conf
systemd-sysusers rktpy.conf
systemd-tmpfiles --create rktpy.conf
for section in 1 5 7; do
    mkdir -p "$prefix/share/man/man$section"
    cp "$here/docs/man/man$section"/* "$prefix/share/man/man$section/"
done
mkdir -p "$prefix/share/bash-completion/completions" "$prefix/share/zsh/site-functions" "$prefix/share/fish/vendor_completions.d"
"$prefix/bin/rktpy" completion bash >"$prefix/share/bash-completion/completions/rktpy"
"$prefix/bin/rktpy" completion zsh >"$prefix/share/zsh/site-functions/_rktpy"
"$prefix/bin/rktpy" completion fish >"$prefix/share/fish/vendor_completions.d/rktpy.fish"
echo "installed $("$prefix/bin/rktpy" version | head -n 1)"

if [ "$demo" = yes ]; then
    RKTPY="$prefix/bin/rktpy" sh "$here/examples/first-image.sh"
fi
