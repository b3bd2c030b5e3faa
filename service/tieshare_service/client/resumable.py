"""Large files on their way up: where the connection breaks the upload goes on where it was."""

from collections.abc import Iterator
from typing import Literal

from tieshare_service.client.errors import Conflict, ConnectionFailed, Unavailable
from tieshare_service.client.transport import Call, Transport
from tieshare_service.client.uploads import Upload

LARGE = 8 << 20  # bytes from which on a file is worth two requests more

Kind = Literal["models", "datasets"]

_STALE = ("upload-busy", "upload-complete", "upload-offset-mismatch")


def send(transport: Transport, kind: Kind, upload: Upload, name: str | None) -> str:
    """The id of the model or data set that the upload became.

    Raises ConnectionFailed where as many tries in turn as there may be brought no byte further.
    """
    state = transport.read(_begin(kind, upload, name), dict)
    place, pauses = ("uploads", str(state["id"])), transport.retry.pauses()
    while state["made"] is None:
        try:
            state = transport.read(_rest(place, upload, int(state["offset"])), dict)
        except (ConnectionFailed, Unavailable, Conflict) as error:
            if isinstance(error, Conflict) and error.type not in _STALE:
                raise
            # Who keeps it busy comes to an end: that is no try in vain.
            busy = isinstance(error, Conflict) and error.type == "upload-busy"
            pause = transport.retry.longest_s if busy else next(pauses)
            transport.sleep(pause or 0.0)
            before, state = state, transport.read(Call("GET", place, replayable=True), dict)
            if state["offset"] > before["offset"] or state["made"] is not None:
                pauses = transport.retry.pauses()
            elif pause is None:
                raise
    return str(state["made"])


def _begin(kind: Kind, upload: Upload, name: str | None) -> Call:
    """Without a byte, so that there is an id before anything can be lost; twice does no harm."""
    headers = {"Upload-Complete": "?0", "Upload-Length": str(upload.size)}
    params = {"kind": kind, **upload.params(name)}
    return Call("POST", ("uploads",), params=params, headers=headers, replayable=True)


def _rest(place: tuple[str, ...], upload: Upload, offset: int) -> Call:
    def content() -> Iterator[bytes]:
        return upload.chunks(offset)

    headers = {
        "Content-Length": str(upload.size - offset),
        "Content-Type": "application/partial-upload",
        "Upload-Complete": "?1",
        "Upload-Offset": str(offset),
    }
    return Call("PATCH", place, headers=headers, content=content)
