"""A trust decision as a tree that a person can read.

Rules, signatures and their reasons hold text that came with images; whatever is not printable is shown as ``?``.

Hot-path module.
"""

from __future__ import annotations

from rktpy.trust.decision import ACCEPTED, ACCEPTS, REJECTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.trust.decision import Decision, Step

#: A check that warns has failed, and the policy does not refuse for it.
_MARKS = {ACCEPTS: "yes", REJECTS: "no ", "skipped": "?  ", "warns": "!  "}


def tree(decision: Decision) -> str:
    """The lines for one decision, without a newline at the end."""
    name = decision.image.name or decision.image.id
    lines = [f"{name} ({decision.image.id})" if decision.image.id else name]
    lines.append(f"  {decision.verdict}: {decision.reason}")
    if decision.policy:
        lines.append(f"  policy: {decision.policy}, {decision.rule}")
    if decision.verdict == ACCEPTED:
        lines.append(f"  allowed by: {decision.allowed_by}")
    for step in decision.steps:
        _step(step, "  ", lines)
    return "\n".join([printable(line) for line in lines])


def _step(step: Step, indent: str, lines: list[str]) -> None:
    lines.append(f"{indent}{_MARKS.get(step.outcome, '?  ')} {step.rule}: {step.reason}")
    for inner in step.steps:
        _step(inner, indent + "    ", lines)


def printable(text: str) -> str:
    """``text`` for a terminal: what somebody else wrote must not move the cursor."""
    return "".join([c if c.isprintable() else "?" for c in text])
