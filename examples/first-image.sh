#!/bin/sh
# A first image from nothing: pack busybox, sign the ACI with a key made for the occasion, trust that key for this one name, run.
# No pod needs a network, and so no plugins and no rules of iptables.
set -eu

rktpy=${RKTPY:-rktpy}
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
stop() {
    GNUPGHOME=$work/gpg gpgconf --kill all >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap stop EXIT

say() { printf '\n# %s\n' "$*"; }
run() { printf '$ rktpy'; printf ' %s' "$@"; printf '\n'; "$rktpy" --dir="$work/data" --local-config="$work/config" "$@"; }

sh "$here/busybox-images.sh" "$work"
cd "$work"
mkdir -m 700 gpg
export GNUPGHOME="$work/gpg"
gpg --batch --quiet --passphrase '' --quick-generate-key 'rktpy first image <first@example.com>' ed25519 sign never 2>/dev/null
gpg --batch --quiet --armor --detach-sign --output busybox.aci.asc busybox.aci
gpg --batch --quiet --armor --export first@example.com >key.asc

say "trust the key for the images below example.com/busybox"
run trust --prefix example.com/busybox --skip-fingerprint-review ./key.asc
say "run the signed ACI"
run run --net=none ./busybox.aci
say "an OCI image has no signature yet, so it has to be allowed by name"
run run --net=none --uuid-file-save=pod --insecure-options=image oci:busybox-oci:1 --memory=64M --exec /bin/sh -- -c 'echo "hello from an OCI image"; busybox | head -n 1'
say "what it wrote is kept, and how it ended"
run logs "$(cat pod)"
run status "$(cat pod)"
say "the same image with the host's namespaces, as a daemon of the host would run"
run run --stage1=fly --insecure-options=image oci:busybox-oci:1
say "what is stored, what ran"
run image list
run list
