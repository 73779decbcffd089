"""The part of the table of commands that is about stored images. Hot-path module: constants only."""

from __future__ import annotations

from rktpy.cli import flags
from rktpy.cli.command import Command

IMAGE_NAMES = (
    "IMAGE is an image ID, a unique prefix of one, a name with or without a version, or the reference it was fetched by."
)
IMAGE_COMMANDS: tuple[Command, ...] = (
    Command(
        ("image",),
        "image [command]",
        "Work with the images in the store",
        """Lists, inspects, writes out, checks and removes stored images.

"""
        + IMAGE_NAMES,
        module="",
    ),
    Command(
        ("image", "cat-manifest"),
        "cat-manifest IMAGE",
        "Print an image's manifest",
        IMAGE_NAMES + "\n\nFor an OCI image this is the manifest that rktpy runs it by.",
        flags.PRETTY,
    ),
    Command(
        ("image", "check"),
        "check [--quick] [--repair]",
        "Check the store",
        """Tells what is broken in the store, a line each; "leftover" is what a killed command leaves and "image gc" removes.
The status is 254 if something is broken. With --repair the index is rebuilt, and what is broken is dropped so that it
can be fetched again.""",
        (
            ("quick", "bool", "false", "do not read the content of blobs and trees"),
            ("repair", "bool", "false", "rebuild the index and drop what is broken"),
        ),
        added=True,
    ),
    Command(
        ("image", "export"),
        "export IMAGE FILE.aci",
        "Write a stored image to a file",
        IMAGE_NAMES + "\n\nAn ACI is written uncompressed, as it was fetched; an OCI image as an ACI made from its layers.",
        flags.OVERWRITE,
    ),
    Command(
        ("image", "extract"),
        "extract IMAGE DIRECTORY",
        "Unpack a stored image into a directory",
        IMAGE_NAMES + '\n\nAn ACI is unpacked without what it depends on; "image render" includes that.',
        (*flags.OVERWRITE, *flags.ROOTFS_ONLY),
    ),
    Command(
        ("image", "fetch"),
        "fetch IMAGE...",
        "Fetch images into the store",
        'The same as "rktpy fetch".',
        (
            ("full", "bool", "false", "print whole image IDs"),
            ("render", "bool", "true", "unpack the image at once, while it arrives"),
            *flags.PULL_UPDATE,
            *flags.SIGNATURE,
            *flags.EXPLAIN,
        ),
        images="plain",
        listed=False,
        module="fetch",
    ),
    Command(
        ("image", "gc"),
        "gc [--grace-period=DURATION]",
        "Remove images and trees that are no longer used",
        """Made for a timer. Trees that no pod needs are removed, and images that no running pod uses and that were last
used longer ago than the grace period; --grace-period=0s removes them at once.""",
        (("grace-period", "duration", "24h0m0s", "how long an image is kept after it was last used"),),
    ),
    Command(
        ("image", "list"),
        "list",
        "List the images in the store",
        "Prints a table of the stored images.",
        (
            (
                "fields",
                "fields",
                "id,name,size,importtime,lastused",
                'columns, separated by commas: "id", "name", "size", "importtime", "lastused"',
            ),
            *flags.FORMAT,
            *flags.LEGEND,
            ("order", "order", "asc", 'order of sorting: "asc" or "desc"'),
            ("sort", "sort", "importtime", 'columns to sort by, separated by commas: "name", "importtime", "lastused", "size"'),
        ),
    ),
    Command(
        ("image", "load"),
        "load FILE",
        "Take images from a file that image save wrote",
        """FILE is an OCI archive, written by "image save" or another tool, or an ACI. Its images are checked, judged by the trust
policy under the names that they have in it, with the signatures that it holds, and their IDs are printed.""",
        (
            *flags.EXPLAIN,
            ("full", "bool", "false", "print whole image IDs"),
            ("name", "string", "", "take only the image of this name"),
            (
                "platform",
                "string",
                "",
                "os/architecture[/variant] to choose from images for many platforms; this machine's if empty",
            ),
            ("render", "bool", "true", "unpack the images at once"),
        ),
        added=True,
    ),
    Command(
        ("image", "push"),
        "push IMAGE docker://HOST/NAME[:TAG]",
        "Push a stored OCI image to a registry",
        IMAGE_NAMES
        + """

The image is pushed as it was fetched, with the signatures kept beside it, and its name and digest there are printed. Of an
image for several platforms the store has one, and pushes that.""",
        (
            *flags.PROGRESS,
            ("with-signatures", "bool", "true", "push the image's signatures too"),
        ),
        added=True,
    ),
    Command(
        ("image", "render"),
        "render IMAGE DIRECTORY",
        "Unpack a stored image as an app would see it",
        IMAGE_NAMES + "\n\nThe directory gets the image and all it depends on, as plain files that rm -r can remove.",
        (*flags.OVERWRITE, *flags.ROOTFS_ONLY),
    ),
    Command(
        ("image", "rm"),
        "rm IMAGE...",
        "Remove images from the store",
        IMAGE_NAMES,
    ),
    Command(
        ("image", "save"),
        "save --output=FILE IMAGE...",
        "Write stored images and their signatures to a file",
        IMAGE_NAMES
        + """

OCI images go into an OCI archive under the names they were fetched by; "image load", skopeo and podman read it. An ACI is
written as it is stored, and its signature beside it, to FILE.asc. The file depends on images and signatures alone.""",
        (
            ("output", "string", "", "file to write"),
            *flags.OVERWRITE,
            ("with-signatures", "bool", "true", "write the images' signatures too"),
        ),
        added=True,
    ),
    Command(
        ("image", "sign"),
        "sign --type=TYPE [--key=FILE | --local-user=USER] IMAGE",
        "Sign an image",
        IMAGE_NAMES
        + """ IMAGE may also be an ACI in a file.

The signature is kept beside the image. TYPE is asc, a detached OpenPGP signature of an ACI; for OCI images it is simple (an
OpenPGP signature in a lookaside storage), cosign (under the tag of cosign's old scheme), bundle (a sigstore bundle) or notation
(of the Notary Project); several are separated by commas.""",
        (
            ("certificates", "string", "", "file with the PEM certificates of the key, its own first, for notation"),
            ("expiry", "duration", "0s", "how long a notation signature is valid; for ever if 0"),
            ("key", "string", "", "file with the private key: PEM, or a secret OpenPGP key"),
            ("local-user", "string", "", "OpenPGP key of the GnuPG keyring to sign with"),
            ("lookaside", "string", "", "directory for simple signatures; what registries.d says if empty"),
            ("output", "string", "", "file to write a detached signature to"),
            *flags.OVERWRITE,
            ("passphrase-file", "string", "", "file whose first line is the passphrase of the key"),
            ("predicate", "string", "", "JSON file to attest, in place of signing the image"),
            ("predicate-type", "string", "", "type of what is attested, a URI"),
            ("push", "bool", "false", "push the signatures to the registry"),
            ("reference", "string", "", "docker://HOST/NAME[:TAG] to sign the image for; where it was fetched from if empty"),
            ("timestamp-url", "string", "", "URL of the RFC 3161 authority that stamps a notation signature with the time"),
            ("type", "string", "", "kinds of signatures, separated by commas: asc, simple, cosign, bundle, notation"),
        ),
        added=True,
    ),
    Command(
        ("image", "verify"),
        "verify [--signatures] IMAGE...",
        "Check the unpacked trees of images",
        IMAGE_NAMES
        + """

A tree that no longer has the content that was unpacked is rebuilt. With --signatures every stored signature is verified
again and the trust policy asked; the status is 254 if an image is refused.""",
        (("signatures", "bool", "false", "verify the signatures too, believing nothing that is remembered of them"),),
    ),
)
