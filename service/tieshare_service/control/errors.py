"""What is wrong with a request as HTTP, before anyone looks at what it asks for.

    RequestError
    ├── UnsupportedMediaType   a body in a form that this resource does not take
    ├── UnknownParameter       a query parameter that this resource does not have
    ├── BadHeader              a header that can't be read
    ├── Disconnected           the client went away in the middle of its body
    ├── RangeNotSatisfiable    a range that begins after the last byte
    └── NotReady               the service can't do its work at the moment

``headers`` go into the answer.
"""

from collections.abc import Mapping

from tieshare_service.errors import ServiceError


class RequestError(ServiceError):
    """The request can't be taken."""

    type = "request-invalid"

    def __init__(
        self, message: str, *, where: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, where=where)
        self.headers = dict(headers or {})


class UnsupportedMediaType(RequestError):
    """The body's type or coding is not one that this resource takes."""

    type = "unsupported-media-type"


class UnknownParameter(RequestError):
    """A query parameter that this resource does not have."""

    type = "parameter-unknown"


class BadHeader(RequestError):
    """A header that can't be read."""

    type = "header-invalid"


class Disconnected(RequestError):
    """The client went away in the middle of its body."""

    type = "body-incomplete"


class RangeNotSatisfiable(RequestError):
    """A range that begins after the last byte."""

    type = "range-not-satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(
            f"the file has {size} bytes",
            where="Range",
            headers={"Content-Range": f"bytes */{size}"},
        )


class NotReady(RequestError):
    """The service can't do its work at the moment."""

    type = "not-ready"
