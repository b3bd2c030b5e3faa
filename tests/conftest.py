"""The zoo of networks for all tests.

``network``      a test that takes it runs once for each classic network of the zoo: chains of
                 layers with one input and one output of floats
``any_network``  the same for every network of the zoo; several inputs, tokens, several outputs
``zoo``          zoo("lenet5-dynamo-free") is one of them
``samples``      samples(model, 7) has 7 random samples of every input, by name
``from_text``    a small model from ONNX text, weights filled at random
"""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from examples.networks.converted import from_text as _from_text
from onnx import ModelProto

pytest_plugins = ["tests.objects", "tests.postgresql"]

Make = Callable[[str], ModelProto]
Samples = Callable[..., dict[str, np.ndarray]]


def _load_zoo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("zoo", Path(__file__).with_name("zoo.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["zoo"] = module
    spec.loader.exec_module(module)
    return module


_zoo = _load_zoo()
_network: Make = _zoo.network
_samples: Samples = _zoo.samples


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "network_name" in metafunc.fixturenames:
        metafunc.parametrize("network_name", tuple(_zoo.NETWORKS))
    if "any_network_name" in metafunc.fixturenames:
        metafunc.parametrize("any_network_name", list(_any_names()))


def _any_names() -> Iterator[object]:
    """Torch's default exporter takes seconds; with a fixed batch its networks are left to CI."""
    for name in _zoo.ANY_NETWORKS:
        slow = name not in _zoo.NETWORKS and name.endswith("dynamo-fixed")
        yield pytest.param(name, marks=pytest.mark.slow) if slow else name


@pytest.fixture
def network(network_name: str) -> ModelProto:
    return _network(network_name)


@pytest.fixture
def any_network(any_network_name: str) -> ModelProto:
    return _network(any_network_name)


@pytest.fixture(scope="session")
def zoo() -> Make:
    return _network


@pytest.fixture(scope="session")
def samples() -> Samples:
    return _samples


@pytest.fixture(scope="session")
def from_text() -> Make:
    return _from_text
