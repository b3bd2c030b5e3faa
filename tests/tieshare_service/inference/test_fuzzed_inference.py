"""Whatever comes in, an answer below 500 goes out and the server stays ready."""

from collections.abc import Callable
from pathlib import Path

import onnx
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tieshare_service.inference.app import App

Ask = Callable[..., tuple[int, dict[str, str], bytes]]


@pytest.fixture
def app(
    publish: Callable[[str, int, onnx.ModelProto], Path],
    application: Callable[..., App],
    digits: onnx.ModelProto,
) -> App:
    publish("digits", 1, digits)
    return application()


_bodies = st.one_of(
    st.binary(max_size=80),
    st.fixed_dictionaries(
        {
            "inputs": st.lists(
                st.fixed_dictionaries(
                    {
                        "name": st.sampled_from(["x", "z"]),
                        "datatype": st.sampled_from(["FP32", "FP64", "INT8", "BYTES"]),
                        "shape": st.lists(st.integers(0, 5), max_size=3),
                    },
                    optional={
                        "data": st.lists(st.floats(width=32) | st.text(max_size=2), max_size=8),
                        "parameters": st.dictionaries(
                            st.sampled_from(["binary_data_size", "k"]), st.integers(-1, 40)
                        ),
                    },
                ),
                max_size=2,
            )
        }
    ).map(orjson.dumps),
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(_bodies, st.binary(max_size=40), st.none() | st.integers(0, 300))
def test_garbage_is_answered_below_500_and_health_stays(
    app: App, ask: Ask, head: bytes, tail: bytes, length: int | None
) -> None:
    headers = {} if length is None else {"Inference-Header-Content-Length": str(length)}
    status, _, body = ask(app, "POST", "/v2/models/digits/infer", head + tail, headers)
    assert status in (200, 400)
    assert status == 200 or list(orjson.loads(body)) == ["error"]
    assert ask(app, "GET", "/v2/health/ready")[0] == 200
