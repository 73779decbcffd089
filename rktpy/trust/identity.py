"""Whether the name in a signature is a name of the image that is wanted (``signedIdentity``).

Source: containers-policy.json(5) and containers/image ``signature/policy_reference_match.go``. Images from directories and
archives have no name in a registry; for them only ``exactReference`` and ``exactRepository`` can hold.

Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import UsageError
from rktpy.formats.oci.image_name import ImageName, parse_image_name
from rktpy.formats.trust.members import shown
from rktpy.trust.policy import docker_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.formats.trust.requirements import Identity


def matches(identity: Identity, image_reference: str, signed_reference: str) -> str:
    """Why the signature is not about this image's name; empty if it is.

    ``image_reference`` is the full text of the image's reference, ``signed_reference`` the name in the signature, as users write
    names. A signature that names no tag or digest can only satisfy what compares repositories.
    """
    try:
        signed = parse_image_name(signed_reference)
    except UsageError as error:
        return f"the signature names '{shown(signed_reference)}': {error}"
    if not _has_version(signed_reference):
        # parse_image_name adds the tag that a user means by none; a signature means none.
        signed = signed.replace(tag="")
    if identity.type == "exactReference":
        return _exact(parse_image_name(identity.reference), signed)
    if identity.type == "exactRepository":
        return _repository(identity.reference, signed)
    image = docker_name(image_reference)
    if image is None:
        return f"the image has no name in a registry, which {identity.type} compares (use exactReference or exactRepository)"
    if identity.type == "matchRepository":
        return _repository(image.name, signed)
    if identity.type == "matchExact":
        return _exact(image, signed)
    if identity.type == "remapIdentity":
        image = _remapped(image, identity)
    elif identity.type != "matchRepoDigestOrExact":
        return f"{identity.type} is no way to compare identities"
    if not image.digest:
        return _exact(image, signed)
    if not _version(signed):
        return f"the signature names {signed.name} without a tag or digest"
    return _repository(image.name, signed)


def _has_version(text: str) -> bool:
    return "@" in text or ":" in text.rpartition("/")[2]


def _version(name: ImageName) -> str:
    return name.tag or name.digest


def _exact(wanted: ImageName, signed: ImageName) -> str:
    if not _version(signed):
        return f"the signature names {signed.name} without a tag or digest, not {wanted.text}"
    return "" if signed == wanted else f"the signature is for {signed.text}, not for {wanted.text}"


def _repository(wanted: str, signed: ImageName) -> str:
    return "" if signed.name == wanted else f"the signature is for the repository {signed.name}, not for {wanted}"


def _remapped(image: ImageName, identity: Identity) -> ImageName:
    """The image with the prefix of its name exchanged, as far as the prefix is one of whole components."""
    name = image.name
    if name != identity.prefix and not name.startswith(identity.prefix + "/"):
        return image
    changed = identity.signed_prefix + name[len(identity.prefix) :]
    host, _slash, repository = changed.partition("/")
    return image.replace(host=host, repository=repository)
