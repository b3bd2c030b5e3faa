"""Who may do what: five groups of operations, three roles, and what belongs to which.

What stands in no table is not open by mistake: of the control API it is an admin's alone, and of
the inference endpoint it gets no answer.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, Literal

from tieshare_service.errors import ServiceError

Role = Literal["admin", "submit", "infer"]
Group = Literal["open", "use", "work", "watch", "manage"]

ROLES: Mapping[Group, frozenset[Role]] = {
    "use": frozenset({"admin", "submit", "infer"}),
    "work": frozenset({"admin", "submit"}),
    "watch": frozenset({"admin", "submit", "infer"}),
    "manage": frozenset({"admin"}),
}
"""Who may: in the group ``open`` everyone, with no key at all; ``watch`` tells of all tenants, so
that it is for keys of none."""

CONTROL: Mapping[str, Group] = {
    "v1": "work",
    "metrics": "watch",
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
    "/metrics": "watch",
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
    "403": "the key is for other things, or has as much as it may",
    "429": "more requests in a minute than the key may make",
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


class TooManyRequests(Refused):
    """The key has made as many in this minute as it may."""

    type = "too-many-requests"

    def __init__(self, most: int, seconds: float, key_id: str) -> None:
        super().__init__(f"the key may make {most} requests in a minute", where=key_id)
        self.retry_s = max(1, ceil(seconds))
        self.headers = {"Retry-After": str(self.retry_s)}


def control_group(path: str) -> Group:
    """Of a path of the control API; one that stands in no table is an admin's alone."""
    return CONTROL.get(path.split("/", 2)[1] if path.startswith("/") else "", "manage")
