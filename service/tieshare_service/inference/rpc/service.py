"""One function a method, and the server."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
from google.protobuf.json_format import ParseDict

from tieshare_service.access import RPC, NoKey, NotAllowed, Refused, TooManyRequests
from tieshare_service.inference import documents, errors, fixed
from tieshare_service.inference.core import Core
from tieshare_service.inference.datatypes import TABLE
from tieshare_service.inference.model_config import type_name
from tieshare_service.inference.rpc import codec
from tieshare_service.inference.rpc.messages import MESSAGES, chosen
from tieshare_service.tls import Tls

if TYPE_CHECKING:  # what most processes need not load
    from tieshare_service import keys

_SERVICE = "inference.GRPCInferenceService"
_GRACE_S = 2.0
_KIND_CPU = 2

CODES: Mapping[type[errors.InferenceError], grpc.StatusCode] = {
    errors.BadBody: grpc.StatusCode.INVALID_ARGUMENT,
    errors.BadTensor: grpc.StatusCode.INVALID_ARGUMENT,
    errors.RunFailed: grpc.StatusCode.INVALID_ARGUMENT,
    errors.BodyTooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.UnsupportedEncoding: grpc.StatusCode.UNIMPLEMENTED,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.ModelNotFound: grpc.StatusCode.NOT_FOUND,
    errors.NotLoaded: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ModelNotReady: grpc.StatusCode.UNAVAILABLE,
    errors.Overloaded: grpc.StatusCode.UNAVAILABLE,
    errors.Expired: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.ClientGone: grpc.StatusCode.CANCELLED,
}
REFUSALS: Mapping[type[Refused], grpc.StatusCode] = {
    NoKey: grpc.StatusCode.UNAUTHENTICATED,
    NotAllowed: grpc.StatusCode.PERMISSION_DENIED,
    TooManyRequests: grpc.StatusCode.RESOURCE_EXHAUSTED,
}

_log = logging.getLogger(__name__)

Key: TypeAlias = "keys.Key | None"
Method = Callable[[Core, Any, Key], Awaitable[Any]]
"""From a request and whose it is."""
Answer = Callable[[Any, Any, Key], Awaitable[Any]]
"""The same beside its context."""


async def _server_live(_core: Core, _request: Any, _key: Key) -> Any:
    return {"live": True}


async def _server_ready(core: Core, _request: Any, _key: Key) -> Any:
    return {"ready": core.repository.ready}


async def _model_ready(core: Core, request: Any, _key: Key) -> Any:
    try:
        core.repository.get(request.name, request.version or None)
    except (errors.ModelNotFound, errors.ModelNotReady):
        return {"ready": False}
    return {"ready": True}


async def _server_metadata(_core: Core, _request: Any, _key: Key) -> Any:
    return documents.server_metadata()


async def _model_metadata(core: Core, request: Any, _key: Key) -> Any:
    return documents.model_metadata(core.repository, request.name, request.version or None)


async def _model_config(core: Core, request: Any, _key: Key) -> Any:
    document = documents.model_config(core.repository, request.name, request.version or None)
    for tensor in (*document["input"], *document["output"]):
        tensor["data_type"] = _NUMBERS[tensor["data_type"]]
        tensor.pop("format", None)
    for group in document["instance_group"]:
        group["kind"] = _KIND_CPU
    return {"config": document}


async def _model_statistics(core: Core, request: Any, key: Key) -> Any:
    version = request.version or None
    counted = await core.counted()
    return documents.statistics(core.repository, counted, request.name, version, key)


async def _model_infer(core: Core, name: str, request: Any, context: Any) -> Any:
    span = None
    if core.tracing is not None:
        span = core.tracing.over_grpc(context.invocation_metadata(), f"{_SERVICE}/{name}")
    return await core.infer(
        request.model_name,
        request.model_version or None,
        lambda _model: codec.parse(request),
        codec.encode,
        span=span,
    )


async def _repository_index(core: Core, request: Any, key: Key) -> Any:
    return {"models": documents.index(core.repository, key, only_ready=request.ready)}


async def _load(core: Core, request: Any, key: Key) -> Any:
    await core.load(request.model_name, request.parameters, key)
    return {}


async def _unload(core: Core, request: Any, key: Key) -> Any:
    await core.unload(request.model_name, key)
    return {}


async def _trace_setting(core: Core, request: Any, _key: Key) -> Any:
    traced = fixed.trace_settings(traced=core.tracing is not None)
    settings = {name: _listed(value) for name, value in traced.items()}
    asked = {name: list(setting.value) or None for name, setting in request.settings.items()}
    known = fixed.unchanged(settings, asked)
    return {"settings": {name: {"value": value} for name, value in known.items()}}


async def _log_settings(_core: Core, request: Any, _key: Key) -> Any:
    asked = {name: chosen(setting) for name, setting in request.settings.items()}
    known = fixed.unchanged(fixed.LOGGING, asked)
    return {"settings": {name: {_param(value): value} for name, value in known.items()}}


async def _regions(_core: Core, request: Any, _key: Key) -> Any:
    if request.name:
        raise fixed.no_region(request.name)
    return {}


async def _register(_core: Core, request: Any, _key: Key) -> Any:
    raise fixed.no_region(request.name)


async def _unregister(_core: Core, _request: Any, _key: Key) -> Any:
    return {}


METHODS: Mapping[str, Method] = {
    "ServerLive": _server_live,
    "ServerReady": _server_ready,
    "ServerMetadata": _server_metadata,
    "ModelReady": _model_ready,
    "ModelMetadata": _model_metadata,
    "ModelConfig": _model_config,
    "ModelStatistics": _model_statistics,
    "RepositoryIndex": _repository_index,
    "RepositoryModelLoad": _load,
    "RepositoryModelUnload": _unload,
    "TraceSetting": _trace_setting,
    "LogSettings": _log_settings,
    "SystemSharedMemoryStatus": _regions,
    "SystemSharedMemoryRegister": _register,
    "SystemSharedMemoryUnregister": _unregister,
    "CudaSharedMemoryStatus": _regions,
    "CudaSharedMemoryRegister": _register,
    "CudaSharedMemoryUnregister": _unregister,
}

_NUMBERS = {type_name(datatype): number for number, datatype in enumerate(TABLE, start=1)}


class RpcServer:
    """Serves a core over gRPC from ``start`` to ``stop``, in the event loop that calls them."""

    def __init__(
        self, core: Core, address: str, max_body_bytes: int, tls: Tls | None = None
    ) -> None:
        options = [
            ("grpc.max_receive_message_length", max_body_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", int(core.siblings.expected)),
        ]
        self._server = grpc.aio.server(options=options)
        answers = {name: _plain(core, method) for name, method in METHODS.items()}
        answers["ModelInfer"] = _inferring(core)
        handlers = {name: _unary(core, name, answer) for name, answer in answers.items()}
        handlers["ModelStreamInfer"] = _stream(core)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(_SERVICE, handlers),)
        )
        if tls is None:
            self.port = self._server.add_insecure_port(address)
        else:
            pair = tls.key.read_bytes(), tls.certificate.read_bytes()
            self.port = self._server.add_secure_port(address, grpc.ssl_server_credentials([pair]))

    async def start(self) -> None:
        """Answer from here on."""
        await self._server.start()

    async def stop(self) -> None:
        """Let what runs end, for a moment."""
        await self._server.stop(_GRACE_S)


def _plain(core: Core, method: Method) -> Answer:
    """Of a method to which its context is all the same."""
    return lambda request, _context, key: method(core, request, key)


def _inferring(core: Core) -> Answer:
    return lambda request, context, _key: _model_infer(core, "ModelInfer", request, context)


def _allow(core: Core, name: str, context: Any, request: Any) -> Key:
    """As ``Core.allow``; the key comes under the name that it has in HTTP."""
    if core.access is None:
        return None
    sent = dict(context.invocation_metadata()).get("authorization")
    served = getattr(request, "model_name", "") or getattr(request, "name", "")
    authorization = None if sent is None else str(sent).encode("latin-1", "replace")
    return core.allow(RPC[name], authorization, served)


def _code(error: errors.InferenceError | Refused) -> grpc.StatusCode:
    return REFUSALS[type(error)] if isinstance(error, Refused) else CODES[type(error)]


def _unary(core: Core, name: str, method: Answer) -> Any:
    answer_class = MESSAGES[f"{name}Response"]

    async def handle(request: Any, context: Any) -> Any:
        try:
            answer = await method(request, context, _allow(core, name, context, request))
        except (errors.InferenceError, Refused) as error:
            await context.abort(_code(error), error.message)
        except Exception:
            _log.exception("%s failed", name)
            await context.abort(grpc.StatusCode.INTERNAL, "internal error")
        if isinstance(answer, dict):
            return ParseDict(answer, answer_class(), ignore_unknown_fields=True)
        return answer

    return grpc.unary_unary_rpc_method_handler(
        handle,
        request_deserializer=MESSAGES[f"{name}Request"].FromString,
        response_serializer=answer_class.SerializeToString,
    )


def _stream(core: Core) -> Any:
    answer_class = MESSAGES["ModelStreamInferResponse"]

    async def handle(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        try:
            _allow(core, "ModelStreamInfer", context, None)
        except Refused as error:
            await context.abort(_code(error), error.message)
        async for request in requests:
            yield await _streamed(core, request, context, answer_class)

    return grpc.stream_stream_rpc_method_handler(
        handle,
        request_deserializer=MESSAGES["ModelInferRequest"].FromString,
        response_serializer=answer_class.SerializeToString,
    )


async def _streamed(core: Core, request: Any, context: Any, answer_class: Any) -> Any:
    """One answer of a stream, which goes on after an error."""
    try:
        _allow(core, "ModelStreamInfer", context, request)
        answer = await _model_infer(core, "ModelStreamInfer", request, context)
    except (errors.InferenceError, Refused) as error:
        return _failed(request, error.message, answer_class)
    except Exception:
        _log.exception("ModelStreamInfer failed")
        return _failed(request, "internal error", answer_class)
    if request.parameters["triton_enable_empty_final_response"].bool_param:
        answer.parameters["triton_final_response"].bool_param = True
    return answer_class(infer_response=answer)


def _failed(request: Any, message: str, answer_class: Any) -> Any:
    """With the identity of the request, by which a client finds whose error it is."""
    return answer_class(error_message=message, infer_response={"id": request.id})


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def _param(value: Any) -> str:
    if isinstance(value, bool):
        return "bool_param"
    return "string_param" if isinstance(value, str) else "uint32_param"
