"""Who may do what: four groups of operations, three roles, and what belongs to which.

What stands in no table is not open by mistake: of the control API it is an admin's alone, and of
the inference endpoint it gets no answer.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tieshare_service.errors import ServiceError

Role = Literal["admin", "submit", "infer"]
Group = Literal["open", "use", "work", "manage"]

ROLES: Mapping[Group, frozenset[Role]] = {
    "use": frozenset({"admin", "submit", "infer"}),
    "work": frozenset({"admin", "submit"}),
    "manage": frozenset({"admin"}),
}
"""Who may: in the group ``open`` everyone, with no key at all."""

CONTROL: Mapping[str, Group] = {
    "v1": "work",
    "metrics": "use",
    "healthz": "open",
    "readyz": "open",
    "openapi.json": "open",
    "docs": "open",
    "redoc": "open",
}
"""Of the control API, by the first part of a path."""

INFERENCE: Mapping[str, Group] = {
    "/healthz": "open",
    "/readyz": "open",
    "/openapi.json": "open",
    "/metrics": "use",
    "/v2": "open",
    "/v2/health/live": "open",
    "/v2/health/ready": "open",
    "/v2/repository/index": "use",
    "/v2/repository/models/{model}/load": "manage",
    "/v2/repository/models/{model}/unload": "manage",
    "/v2/trace/setting": "manage",
    "/v2/models/{model}/trace/setting": "manage",
    "/v2/logging": "manage",
    "/v2/models/stats": "use",
    **{
        f"/v2/models/{{model}}{version}{what}": "use"
        for version in ("", "/versions/{version}")
        for what in ("", "/config", "/stats", "/ready", "/infer")
    },
    **{
        f"/v2/{kind}/{what}": "manage"
        for kind in ("systemsharedmemory", "cudasharedmemory")
        for what in (
            "status",
            "unregister",
            "region/{model}/status",
            "region/{model}/register",
            "region/{model}/unregister",
        )
    },
}
"""Of the inference endpoint, by the template of a path."""

RPC: Mapping[str, Group] = {
    "ServerLive": "open",
    "ServerReady": "open",
    "ServerMetadata": "open",
    "ModelReady": "use",
    "ModelMetadata": "use",
    "ModelConfig": "use",
    "ModelStatistics": "use",
    "ModelInfer": "use",
    "ModelStreamInfer": "use",
    "RepositoryIndex": "use",
    "RepositoryModelLoad": "manage",
    "RepositoryModelUnload": "manage",
    "TraceSetting": "manage",
    "LogSettings": "manage",
    "SystemSharedMemoryStatus": "manage",
    "SystemSharedMemoryRegister": "manage",
    "SystemSharedMemoryUnregister": "manage",
    "CudaSharedMemoryStatus": "manage",
    "CudaSharedMemoryRegister": "manage",
    "CudaSharedMemoryUnregister": "manage",
}
"""The same by the method of gRPC."""


SECURITY: Mapping[str, Any] = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "of `tieshare keys create`; needed on any address but a loopback one",
    }
}
"""Of the OpenAPI documents."""
MAYBE_KEY: Sequence[Mapping[str, Any]] = ({}, {"key": []})
REASONS: Mapping[str, str] = {
    "401": "a key is needed, and none that is in force was sent",
    "403": "the key is for other things",
}


class Refused(ServiceError):
    """A key is needed for this, or another one."""

    type = "access-refused"


class NoKey(Refused):
    """The request has no key, or one that is not in force."""

    type = "key-needed"

    def __init__(self, message: str) -> None:
        super().__init__(message, where="Authorization")


class NotAllowed(Refused):
    """The key is in force, and is not for this."""

    type = "not-allowed"


def control_group(path: str) -> Group:
    """Of a path of the control API; one that stands in no table is an admin's alone."""
    return CONTROL.get(path.split("/", 2)[1] if path.startswith("/") else "", "manage")
