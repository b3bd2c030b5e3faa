"""An object store of the tests' own: moto's server, which speaks S3, in a process of its own.

``bucket``  the URL of a new bucket on it, with all in the environment that clients of it need
"""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import count

import httpx
import pytest
from tests.waiting import until

_NUMBERS = count(1)


@pytest.fixture(scope="session")
def object_server() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1"]
    process = subprocess.Popen(
        [*command, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None
        try:
            return httpx.get(f"{url}/moto-api/").is_success
        except httpx.TransportError:
            return False

    try:
        until(answers, 60)
        yield url
    finally:
        process.kill()
        process.wait()


def environ(url: str, key: str = "test") -> dict[str, str]:
    """Of clients of a server at this address."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": key,
        "AWS_REGION": "us-east-1",
    }


@pytest.fixture
def bucket(object_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in environ(object_server).items():
        monkeypatch.setenv(name, value)
    name = f"tieshare-{os.getpid()}-{next(_NUMBERS)}"
    httpx.put(f"{object_server}/{name}").raise_for_status()
    return f"s3://{name}/a/prefix"
