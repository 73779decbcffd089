"""``rktpy list``. Hot-path module."""

from __future__ import annotations

from rktpy.cli.output import out, out_json
from rktpy.cli.pod_arguments import no_arguments
from rktpy.cli.settings import settings
from rktpy.errors import RktpyError
from rktpy.log import note
from rktpy.stage0.pods import walk
from rktpy.stage0.status import image_name, network_text, pod_document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rktpy.cli.parse import Arguments
    from rktpy.stage0.pods import Pod

_RULE = "-" * 40


def run(arguments: Arguments) -> int:
    """Print the pods as a table or as JSON. Pods that cannot be read are told on standard error; the status is 0 all the same."""
    no_arguments(arguments)
    g = settings(arguments)
    form = arguments.text("format")
    errors: list[str] = []
    if form:
        documents: list[object] = []
        for pod in walk(g.data_dir):
            try:
                documents.append(pod_document(pod))
            except (RktpyError, OSError) as error:
                errors.append(_unreadable(pod, error))
        out_json(documents, pretty=form == "json-pretty")
    else:
        lines = _table(g.data_dir, arguments.switch("full"), errors)
        if not arguments.switch("no-legend"):
            image_id = "\tIMAGE ID" if arguments.switch("full") else ""
            lines.insert(0, f"UUID\tAPP\tIMAGE NAME{image_id}\tSTATE\tCREATED\tSTARTED\tNETWORKS")
        if lines:
            from rktpy.cli.tabular import align

            out(align("\n".join(lines)))
    if errors:
        _tell(errors)
    return 0


def _table(data_dir: str, full: bool, errors: list[str]) -> list[str]:
    from rktpy.cli import times

    when = times.exact if full else times.distance
    lines: list[str] = []
    for pod in walk(data_dir):
        try:
            apps = pod.app_documents() if pod.has_manifest else []
        except (RktpyError, OSError) as error:
            errors.append(_unreadable(pod, error))
            continue
        created, started = pod.created_ns, pod.started_ns
        head = pod.uuid if full else pod.uuid[:8]
        tail = (
            f"{pod.state}\t{'' if created is None else when(created)}\t{'' if started is None else when(started)}"
            f"\t{network_text(pod.networks())}"
        )
        if not apps:
            lines.append(f"{head}\t-\t-{chr(9) + '-' if full else ''}\t{tail}")
        for app in apps:
            try:
                name = image_name(pod, app)
            except RktpyError as error:
                errors.append(f"{error}: {error.__cause__ or ''}".removesuffix(": "))
                name = "--"
            image_id = f"\t{app.get('image', {}).get('id', '')[:19]}" if full else ""
            lines.append(f"{head}\t{app['name']}\t{name}{image_id}\t{tail}")
            # The pod's own columns stand in its first row only.
            head, tail = "", "\t\t\t"
    return lines


def _unreadable(pod: Pod, error: BaseException) -> str:
    from rktpy.errors import innermost

    return f"Unable to read pod {pod.uuid} manifest:\n  {innermost(error)}"


def _tell(errors: list[str]) -> None:
    note("list", f"{len(errors)} error(s) encountered when listing pods:")
    note("list", _RULE)
    for text in errors:
        note("list", text)
        note("list", _RULE)
