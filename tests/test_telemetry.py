"""ONNX Runtime reports to nobody what tieshare runs with it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = """
import {module}
from onnx import helper, TensorProto
import onnxruntime
value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])
graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [value("x")], [value("y")])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnxruntime.InferenceSession(model.SerializeToString()).run(None, {{"x": [1.0]}})
"""


@pytest.mark.parametrize("module", ["tieshare", "tieshare_service"])
def test_nothing_is_kept_to_be_reported(module: str, tmp_path: Path) -> None:
    environ = {**os.environ, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    for name in ("CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"):  # CI turns it off as well
        environ.pop(name, None)
    subprocess.run([sys.executable, "-c", RUN.format(module=module)], env=environ, check=True)
    assert not list(tmp_path.iterdir())
