"""Rules of iptables that ptp and bridge leave behind.

With ``ipMasq`` they make a chain for each pod and a rule that leads there. On DEL they look for the addresses of the
interface in the pod's namespace, remove the interface, and then the rules of those addresses. When the namespace is gone, or
an earlier DEL was killed between the two, they find no address and the rules would stay for good. The name of the chain is
made of the network's name and the container's ID alone, so they can be found without the addresses.

Source: containernetworking/plugins ``pkg/utils/utils.go`` (FormatChainName), ``pkg/ip/ipmasq_linux.go``. Hot-path module.
"""

from __future__ import annotations

from rktpy.errors import FormatError, NetworkError
from rktpy.formats.cni.cache import Attachment
from rktpy.log import debug
from rktpy.net.execute import find_program, run_program

_HOOK = "POSTROUTING"
_PREFIX = "CNI-"
_LENGTH = 28


def chain_name(network: str, container_id: str) -> str:
    """The chain with the masquerading rules of a pod in a network."""
    from hashlib import sha512

    digest = sha512(f"{network}{container_id}".encode()).hexdigest()
    return _PREFIX + digest[: _LENGTH - len(_PREFIX)]


def remove_masquerade(attachment: Attachment) -> list[NetworkError]:
    """Remove what DEL has left of an attachment's rules; what went wrong. Nothing is there to remove as a rule."""
    try:
        network = attachment.parsed_config()
        result = attachment.parsed_result(network.versions[0])
    except FormatError:
        return []  # DEL has told
    if not network.ip_masq:
        return []
    programs = ["iptables"]
    if result is None or not all(address.is_v4 for address in result.addresses):
        programs.append("ip6tables")
    chain = chain_name(attachment.network, attachment.container_id)
    failed: list[NetworkError] = []
    for program in programs:
        path = find_program(program)
        if not path:
            continue
        try:
            _remove_chain(path, chain)
        except NetworkError as error:
            failed.append(error)
    return failed


def _remove_chain(path: str, chain: str) -> None:
    nat = [path, "-w", "-t", "nat"]
    _output, _errors, status = run_program([*nat, "-S", chain])
    if status != 0:
        return  # no such chain, or no such table in this kernel
    debug("networking", f"removing the rules that a plugin has left in chain {chain}")
    for rule in _rules_to(_run([*nat, "-S", _HOOK]), chain):
        _run([*nat, "-D", *rule])
    _run([*nat, "-F", chain])
    _run([*nat, "-X", chain])


def _run(argv: list[str]) -> str:
    output, errors, status = run_program(argv)
    if status != 0:
        raise NetworkError(f"{' '.join(argv[:6])} failed: {' '.join(errors.decode('utf-8', 'backslashreplace').split())}")
    return output.decode("utf-8", "backslashreplace")


def _rules_to(listing: str, chain: str) -> list[list[str]]:
    """The arguments of the rules of _HOOK that lead to the chain, from the output of ``-S``."""
    from shlex import split

    rules = [split(line) for line in listing.splitlines() if f"-j {chain}" in line]
    return [words[1:] for words in rules if words[:2] == ["-A", _HOOK] and _target(words) == chain]


def _target(words: list[str]) -> str:
    return words[words.index("-j") + 1] if "-j" in words[:-1] else ""
