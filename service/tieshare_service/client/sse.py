"""Server-sent events, read from raw bytes (HTML standard, section 9.2.6)."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# Only these three end a line; text lines of Python also end at U+2028, which JSON may hold raw.
LINE_END = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True)
class ServerEvent:
    """One dispatched event. ``id`` is the newest id so far, as the standard has it."""

    id: str
    type: str
    data: str


def lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Cut a stream into its whole lines; a last line that nothing ended is dropped."""
    rest = b""
    for chunk in chunks:
        rest += chunk
        # A CR at the very end may be half of a CR LF: it waits for the next chunk.
        held = b"\r" if rest.endswith(b"\r") else b""
        *whole, rest = LINE_END.split(rest.removesuffix(b"\r"))
        rest += held
        for line in whole:
            yield line.decode("utf-8", errors="replace")


def read_events(chunks: Iterable[bytes]) -> Iterator[ServerEvent]:
    """Dispatch the events of a stream; comments (heartbeats) and half events give nothing."""
    newest, kind = "", ""
    data: list[str] = []
    for line in lines(chunks):
        if not line:
            if data:
                yield ServerEvent(newest, kind or "message", "\n".join(data))
            kind, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            kind = value
        elif field == "id" and "\0" not in value:
            newest = value
