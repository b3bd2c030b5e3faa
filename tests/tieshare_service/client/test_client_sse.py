import itertools

from hypothesis import given
from hypothesis import strategies as st

from tieshare_service.client.sse import ServerEvent, read_events

STREAM = (
    b": heartbeat\n\n"
    b"id: 1\nevent: status\ndata: one\n\n"
    b"id: 2\r\nevent: progress\r\ndata: two\r\ndata:  lines\r\n\r\n"
    b"id: 3\revent: status\rdata: \xe2\x80\xa8 is no line end\r\r"
    b"data: the id before still holds\n\n"
    b"event: dropped\n\n"
    b"id: 4\ndata: half an event"
)

EVENTS = [
    ServerEvent("1", "status", "one"),
    ServerEvent("2", "progress", "two\n lines"),
    ServerEvent("3", "status", "\u2028 is no line end"),
    ServerEvent("3", "message", "the id before still holds"),
]


def test_a_stream_is_read_as_the_standard_says() -> None:
    assert list(read_events([STREAM])) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_where_the_network_cuts_the_stream_makes_no_difference(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    chunks = [STREAM[a:b] for a, b in itertools.pairwise(edges)]

    assert list(read_events(chunks)) == EVENTS
