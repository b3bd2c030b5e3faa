"""NVIDIA's asyncio clients, which share their calls with the others: several requests at once."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tritonclient.grpc.aio as over_grpc
import tritonclient.http.aio as over_http
from tritonclient.utils import InferenceServerException

Publish = Callable[[str, int, onnx.ModelProto | bytes], Path]


@pytest.mark.parametrize("kind", [over_http, over_grpc], ids=["http", "grpc"])
def test_requests_at_once_get_their_own_answers(
    serve: Callable[..., str],
    publish: Publish,
    digits: onnx.ModelProto,
    rpc_address: str,
    kind: Any,
) -> None:
    publish("digits", 1, digits)
    url = serve(rpc_address=rpc_address).removeprefix("http://")

    async def ask(client: Any, place: int) -> tuple[str, list[list[float]]]:
        x = np.array([[place, 0, 0, 0]], np.float32)
        tensor = kind.InferInput("x", [1, 4], "FP32")
        tensor.set_data_from_numpy(x)
        result = await client.infer("digits", [tensor], request_id=str(place))
        response = result.get_response()
        identity = response["id"] if isinstance(response, dict) else response.id
        return identity, result.as_numpy("y").tolist()

    async def run() -> list[tuple[str, list[list[float]]]]:
        async with kind.InferenceServerClient(url if kind is over_http else rpc_address) as client:
            assert await client.is_server_ready()
            assert await client.is_model_ready("digits")
            with pytest.raises(InferenceServerException, match="no model 'other'"):
                await client.get_model_metadata("other")
            return list(await asyncio.gather(*(ask(client, place) for place in range(40))))

    for place, (identity, y) in enumerate(asyncio.run(run())):
        assert identity == str(place)
        assert y == [pytest.approx([0.5 * place + 0.1, -1.0 * place - 0.2], rel=1e-5)]
