"""The methods of the API, and what a client is told when one fails.

Source: rkt 1.30 ``rkt/api_service.go``. rkt answers every failure with the code UNKNOWN; here the codes say what kind it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from rktpy import __version__
from rktpy.api.filters import wants_image, wants_pod
from rktpy.api.followers import Busy, Followers
from rktpy.api.images import APPC_VERSION, image_message
from rktpy.api.logs import query, read_log
from rktpy.api.pods import pod_message
from rktpy.errors import AmbiguousError, InputError, NotFoundError, RktpyError, StateError, StoreError, UsageError, innermost
from rktpy.formats.api import messages
from rktpy.formats.api.v1alpha import METHODS, PACKAGE, SERVICE, VERSION
from rktpy.log import note
from rktpy.stage0.pod_states import quoted
from rktpy.stage0.pods import find_pod, walk
from rktpy.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rktpy.stage0.options import Globals

# Clients ask it for what rkt of that version can do; what follows the plus sign does not count (semver 2.0.0).
RKT_VERSION = f"1.30.0+rktpy.{__version__}"
_CODES: tuple[tuple[type[BaseException], grpc.StatusCode], ...] = (
    (Busy, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (NotFoundError, grpc.StatusCode.NOT_FOUND),
    (UsageError, grpc.StatusCode.INVALID_ARGUMENT),
    (AmbiguousError, grpc.StatusCode.INVALID_ARGUMENT),
    (InputError, grpc.StatusCode.DATA_LOSS),
    (StateError, grpc.StatusCode.FAILED_PRECONDITION),
    (PermissionError, grpc.StatusCode.PERMISSION_DENIED),
)


class PublicAPI:
    """The implementation. Every method may be called from any thread."""

    def __init__(self, g: Globals, insecure_flags: str, streams: int) -> None:
        """``insecure_flags``: the value of ``--insecure-options``; ``streams``: how many logs may be read at once."""
        self._g = g
        self._insecure_flags = insecure_flags
        self._store = Store(g.data_dir, create=False)
        self._followers = Followers(streams)

    def close(self) -> None:
        """Let those who follow logs end."""
        self._followers.hang_up()

    def handler(self) -> grpc.GenericRpcHandler:
        """The handler for a gRPC server."""
        handlers: dict[str, grpc.RpcMethodHandler] = {}
        for name, streams in METHODS.items():
            decode = messages.CLASSES[f"{name}Request"].FromString
            encode = messages.CLASSES[f"{name}Response"].SerializeToString
            method: Callable[..., Any] = getattr(self, name)
            if streams:
                handlers[name] = grpc.unary_stream_rpc_method_handler(_checked_stream(name, method), decode, encode)
            else:
                handlers[name] = grpc.unary_unary_rpc_method_handler(_checked(name, method), decode, encode)
        return grpc.method_handlers_generic_handler(f"{PACKAGE}.{SERVICE}", handlers)

    def GetInfo(self, _request: Any, _context: grpc.ServicerContext) -> Any:
        """The versions, and the flags of the service."""
        flags = messages.GlobalFlags(
            dir=self._g.data_dir,
            system_config_dir=self._g.system_config,
            local_config_dir=self._g.local_config,
            user_config_dir=self._g.user_config,
            insecure_flags=self._insecure_flags,
            trust_keys_from_https=self._g.trust_keys_from_https,
        )
        info = messages.Info(rkt_version=RKT_VERSION, appc_version=APPC_VERSION, api_version=VERSION, global_flags=flags)
        return messages.GetInfoResponse(info=info)

    def ListPods(self, request: Any, _context: grpc.ServicerContext) -> Any:
        """The pods that the filters want."""
        response = messages.ListPodsResponse()
        for pod in walk(self._g.data_dir):
            message = pod_message(self._store, pod)
            if wants_pod(request.filters, message):
                if not request.detail:
                    message.ClearField("manifest")
                response.pods.append(message)
        return response

    def InspectPod(self, request: Any, _context: grpc.ServicerContext) -> Any:
        """One pod."""
        with find_pod(self._g.data_dir, request.id, "problem retrieving pod") as pod:
            return messages.InspectPodResponse(pod=pod_message(self._store, pod))

    def ListImages(self, request: Any, _context: grpc.ServicerContext) -> Any:
        """The images that the filters want; damaged ones are told on standard error and left out."""
        response = messages.ListImagesResponse()
        for facts in self._store.list_images():
            try:
                message = image_message(self._store, facts)
            except NotFoundError:
                continue  # removed meanwhile
            except RktpyError as error:
                note("api-service", f"image {facts.id} cannot be read: {innermost(error)}")
                continue
            if wants_image(request.filters, message):
                if not request.detail:
                    message.ClearField("manifest")
                response.images.append(message)
        return response

    def InspectImage(self, request: Any, _context: grpc.ServicerContext) -> Any:
        """One image."""
        image_id = self._store.resolve_id(request.id)
        for facts in self._store.list_images():
            if facts.id == image_id:
                return messages.InspectImageResponse(image=image_message(self._store, facts))
        raise StoreError(f"the record of image {image_id} is damaged (see image check)")

    def ListenEvents(self, _request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """Not implemented, as in rkt."""
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "not implemented yet")

    def GetLogs(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """The log of a pod, in as many answers as it takes, but at least one."""
        for name in ("lines", "since_time", "until_time"):
            if getattr(request, name) < 0:
                raise UsageError(f"{name} must not be negative")
        wanted = query(
            request.app_name,
            lines=request.lines,
            since_s=request.since_time,
            until_s=request.until_time,
            follow=request.follow,
        )
        with (
            self._followers.place() as follower,
            find_pod(self._g.data_dir, request.pod_id, "problem retrieving pod") as pod,
        ):
            # The apps of a mutable pod come and go; what they wrote stays.
            if wanted.app and pod.has_manifest and not pod.is_mutable and wanted.app not in pod.app_names():
                raise NotFoundError(f"app {quoted(wanted.app)} is not in pod {quoted(pod.uuid)}")
            if not context.add_callback(follower.hang_up):
                return  # the client is gone already
            empty = True
            for lines in read_log(pod, wanted, follower.fd):
                empty = False
                yield messages.GetLogsResponse(lines=lines)
            if empty:
                yield messages.GetLogsResponse()


def _checked(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def call(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(request, context)
        except Exception as error:
            _fail(name, context, error)

    return call


def _checked_stream(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def call(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            yield from method(request, context)
        except Exception as error:
            _fail(name, context, error)

    return call


def _fail(name: str, context: grpc.ServicerContext, error: Exception) -> None:
    """End a call with the code and the text for an error. Raises what gRPC ends a call by."""
    if context.code() is not None:
        raise error  # aborted already
    code, text = grpc.StatusCode.UNKNOWN, innermost(error)
    for kind, wanted in _CODES:
        if isinstance(error, kind):
            code = wanted
            break
    else:
        if not isinstance(error, (RktpyError, OSError)):
            code, text = grpc.StatusCode.INTERNAL, "internal error"
            note("api-service", f"internal error: {type(error).__name__}: {error}")
    if code is not grpc.StatusCode.INTERNAL:
        note("api-service", f"{name}: {text}")
    context.abort(code, text)
