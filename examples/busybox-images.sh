#!/bin/sh
# Pack Debian's static busybox as an ACI and as an OCI layout, with nothing but coreutils and tar:
#
#     sh examples/busybox-images.sh DIRECTORY
#
# makes DIRECTORY/busybox.aci (name example.com/busybox, version 1) and DIRECTORY/busybox-oci (tag 1).
set -eu

out=$1
busybox=$(command -v busybox)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"

rootfs=$work/rootfs
mkdir -p "$rootfs/bin" "$rootfs/etc" "$rootfs/proc" "$rootfs/sys" "$rootfs/dev" "$rootfs/root"
mkdir -m 1777 "$rootfs/tmp"
cp "$busybox" "$rootfs/bin/busybox"
for applet in $("$busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$rootfs/bin/$applet"
done
echo 'root:x:0:0:root:/root:/bin/sh' >"$rootfs/etc/passwd"
echo 'root:x:0:' >"$rootfs/etc/group"

case $(uname -m) in
    x86_64) aci_arch=amd64 oci_arch=amd64 ;;
    aarch64) aci_arch=aarch64 oci_arch=arm64 ;;
    *) echo "busybox-images.sh: unknown machine $(uname -m)" >&2; exit 1 ;;
esac

pack() { tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner "$@"; }

cat >"$work/manifest" <<JSON
{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/busybox",
 "labels":[{"name":"version","value":"1"},{"name":"os","value":"linux"},{"name":"arch","value":"$aci_arch"}],
 "app":{"exec":["/bin/sh","-c","echo \"hello from \$AC_APP_NAME, an ACI\""],"user":"0","group":"0"}}
JSON
pack -C "$work" -cf - manifest rootfs | gzip -n >"$out/busybox.aci"

layout=$out/busybox-oci
blobs=$layout/blobs/sha256
rm -rf "$layout"
mkdir -p "$blobs"
digest() { sha256sum "$1" | cut -d' ' -f1; }
keep() { # move a file into the layout, print its hex digest
    hex=$(digest "$1")
    mv "$1" "$blobs/$hex"
    echo "$hex"
}
pack -C "$rootfs" -cf "$work/layer" .
diff_id=$(digest "$work/layer")
gzip -n "$work/layer"
layer_size=$(stat -c %s "$work/layer.gz")
layer=$(keep "$work/layer.gz")
cat >"$work/config" <<JSON
{"architecture":"$oci_arch","os":"linux","config":{"Env":["PATH=/bin"],"Cmd":["/bin/sh","-c","echo \"hello from \$AC_APP_NAME, an OCI image\""]},
 "rootfs":{"type":"layers","diff_ids":["sha256:$diff_id"]}}
JSON
config_size=$(stat -c %s "$work/config")
config=$(keep "$work/config")
cat >"$work/image" <<JSON
{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
 "config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:$config","size":$config_size},
 "layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:$layer","size":$layer_size}]}
JSON
image_size=$(stat -c %s "$work/image")
image=$(keep "$work/image")
echo '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
cat >"$layout/index.json" <<JSON
{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:$image","size":$image_size,
 "annotations":{"org.opencontainers.image.ref.name":"1"}}]}
JSON
