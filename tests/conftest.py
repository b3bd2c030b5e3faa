"""The zoo of networks for all tests.

``network``    a test that takes it runs once for each network of the zoo
``zoo``        zoo("lenet5-dynamo-free") is one of them
``from_text``  a small model from ONNX text, weights filled at random
"""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from onnx import ModelProto

Make = Callable[[str], ModelProto]


def _load_zoo() -> tuple[tuple[str, ...], Make, Make]:
    spec = importlib.util.spec_from_file_location("zoo", Path(__file__).with_name("zoo.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["zoo"] = module
    spec.loader.exec_module(module)
    return tuple(module.NETWORKS), module.network, module.from_text


_NAMES, _network, _from_text = _load_zoo()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "network_name" in metafunc.fixturenames:
        metafunc.parametrize("network_name", _NAMES)


@pytest.fixture
def network(network_name: str) -> ModelProto:
    return _network(network_name)


@pytest.fixture(scope="session")
def zoo() -> Make:
    return _network


@pytest.fixture(scope="session")
def from_text() -> Make:
    return _from_text
