"""Large uploads go on where they were."""

import hashlib
import socket
import time

import httpx
import pytest

from tieshare_service.client import Client, ConnectionFailed, Invalid, Retry, stored
from tieshare_service.client.uploads import CHUNK

IMPATIENT = Retry(attempts=3, first_s=0.05, longest_s=0.1)


@pytest.fixture(autouse=True)
def all_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "LARGE", 1)


class Breaking(httpx.HTTPTransport):
    """The connection breaks after so many bytes of each PATCH, as long as ``cuts`` has any."""

    def __init__(self, *cuts: int) -> None:
        super().__init__()
        self.cuts = list(cuts)
        self.offsets: list[int] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method != "PATCH":
            return super().handle_request(request)
        self.offsets.append(int(request.headers["Upload-Offset"]))
        if not self.cuts:
            return super().handle_request(request)
        lines = [f"PATCH {request.url.path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        head = "\r\n".join([*lines, "", ""]).encode()
        with socket.create_connection((request.url.host, request.url.port or 0)) as line:
            line.sendall(head + request.read()[: self.cuts.pop(0)])
            time.sleep(0.1)  # what comes together with the end of a connection is not looked at
        raise httpx.ReadError("the line is cut")


def test_a_large_upload_comes_back_byte_for_byte(http: httpx.Client, dataset_bytes: bytes) -> None:
    seen: list[tuple[int, int]] = []
    with Client(str(http.base_url)) as client:
        made = client.datasets.create(dataset_bytes, "big", lambda *done: seen.append(done))
    assert (made.name, made.bytes) == ("big", len(dataset_bytes))
    assert made.sha256 == hashlib.sha256(dataset_bytes).hexdigest()
    assert seen[-1] == (len(dataset_bytes), len(dataset_bytes))


def test_it_goes_on_where_the_connection_broke(http: httpx.Client, model_bytes: bytes) -> None:
    transport = Breaking(200, 100, 0, 0, 50)
    with Client(str(http.base_url), retry=IMPATIENT, http=transport) as client:
        made = client.models.create(model_bytes, "broken")
    assert http.get(f"/v1/models/{made.id}/content").content == model_bytes
    assert (transport.offsets[0], transport.offsets[-1]) == (0, 350)


def test_it_gives_up_where_no_byte_gets_through(http: httpx.Client, model_bytes: bytes) -> None:
    transport = Breaking(200, *[0] * 10)
    with (
        Client(str(http.base_url), retry=IMPATIENT, http=transport) as client,
        pytest.raises(ConnectionFailed),
    ):
        client.models.create(model_bytes, "broken")
    assert len(transport.offsets) < 8


def test_a_file_that_is_refused_is_not_sent_again(http: httpx.Client) -> None:
    transport = Breaking()
    with (
        Client(str(http.base_url), http=transport) as client,
        pytest.raises(Invalid) as caught,
    ):
        client.models.create(bytes(CHUNK + 1), "none")
    assert caught.value.type == "model-not-onnx"
    assert transport.offsets == [0]
