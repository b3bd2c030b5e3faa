"""Small networks that have learned something, their data, and jobs on them.

``digits``   scikit-learn's 1,797 images of 8 x 8, from 0 to 1, and their classes
``fresh``    a model from the text of its graph; weights of the given shapes are drawn at random
``taught``   the model after some epochs of Adam on a data set
``mlp``      64-32-10, taught the digits
``job_of``   what all steps of one job on a model share, its checkpoints in a folder
``sparse``   the tensors of mlp after three epochs of a strong penalty
``ready``    ready("name") is a job on mlp in a folder of that name, whose path has these at epoch 3
``short``    a recipe of few epochs, at a rate that need not be looked for
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, numpy_helper, parser
from sklearn.datasets import load_digits

from tieshare.checkpoint import Checkpoints
from tieshare.data import Dataset, fit
from tieshare.graph import describe, find_heads
from tieshare.graph.tensors import with_tensors
from tieshare.job import Job
from tieshare.objective import Objective
from tieshare.progress import Listener, Narrator, silent
from tieshare.recipe import Recipe, Target
from tieshare.stage1 import RisingPath
from tieshare.trainer import Trainer, load
from tieshare.twin import from_onnx


def _fresh(text: str, **shapes: tuple[int, ...]) -> ModelProto:
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}')
    rng = np.random.default_rng(0)
    for name, shape in shapes.items():
        # Inputs of a unit: all but the axis of units, which is the last of a matrix and the
        # first of a kernel.
        inputs = np.prod(shape[:-1] if len(shape) == 2 else shape[1:])
        values = rng.normal(size=shape) * (np.sqrt(2 / inputs) if len(shape) > 1 else 0.1)
        model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    onnx.checker.check_model(model, full_check=True)
    return model


def _taught(model: ModelProto, data: Dataset, epochs: int = 15, task: Any = "auto") -> ModelProto:
    splits = fit(data, asdict(describe(model)), Recipe(task=task))
    heads = {head.output: head for head in find_heads(model)}
    goals = [(goal.task, heads[goal.output]) for goal in splits.goals]
    values = [head.output if task == "regression" else head.logits for task, head in goals]
    twin = from_onnx(model, values)
    train, held_out = load(splits.train), load(splits.held_out)
    trainer = Trainer(train, held_out, Objective(splits.goals, 0.0, 1.0), 64, lambda *_: None)
    optimizer = torch.optim.Adam(twin.parameters(), lr=3e-3)
    for epoch in range(epochs):
        twin.train()
        for index in trainer.batches(seed=0, epoch=epoch):
            trainer.step(twin, optimizer, index)
    return with_tensors(model, twin.tensors())


def _job_of(
    model: ModelProto,
    data: Dataset,
    folder: Path,
    listener: Listener = silent,
    **recipe: Any,
) -> Job:
    given: dict[str, Any] = {"path_epochs": 14, "retrain_epochs": 3, "batch_size": 64}
    made = Recipe(**({"target": Target(min_ratio=4.0)} | given | recipe))
    splits = fit(data, asdict(describe(model)), made)
    return Job(model, splits, made, Checkpoints(folder), Narrator(listener))


def _short(target: Target | None = None, **options: Any) -> Recipe:
    given: dict[str, Any] = {"path_epochs": 5, "retrain_epochs": 1, "batch_size": 64}
    return Recipe(target or Target(min_ratio=1.2), **(given | {"learning_rate": 0.05} | options))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def fresh() -> Callable[..., ModelProto]:
    return _fresh


@pytest.fixture(scope="session")
def taught(one_thread: None) -> Callable[..., ModelProto]:
    return _taught


@pytest.fixture(scope="session")
def digits() -> Dataset:
    x, y = load_digits(return_X_y=True)
    return Dataset({"x": (x / 16).astype(np.float32), "y": y.astype(np.int64)})


@pytest.fixture(scope="session")
def mlp(digits: Dataset, one_thread: None) -> ModelProto:
    text = (
        "mlp (float[N, 64] x) => (float[N, 10] logits)"
        "{ h = Gemm (x, w1, b1) r = Relu (h) logits = Gemm (r, w2, b2) }"
    )
    return _taught(_fresh(text, w1=(64, 32), b1=(32,), w2=(32, 10), b2=(10,)), digits)


@pytest.fixture(scope="session")
def job_of() -> Callable[..., Job]:
    return _job_of


@pytest.fixture(scope="session")
def sparse(
    mlp: ModelProto, digits: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, np.ndarray]:
    job = _job_of(mlp, digits, tmp_path_factory.mktemp("path"), learning_rate=0.05)
    twin = job.twin(job.start)
    path = RisingPath(
        twin, job.structure, job.trainer, job.recipe, replace(job.plan, path_epochs=60), 1e300
    )
    path.pace.strength = 0.4
    for _ in range(3):
        path.epoch()
    return twin.tensors()


@pytest.fixture
def ready(
    mlp: ModelProto, digits: Dataset, sparse: dict[str, np.ndarray], tmp_path: Path
) -> Callable[..., Job]:
    def make(folder: str = "job", listener: Listener = silent, **recipe: Any) -> Job:
        job = _job_of(mlp, digits, tmp_path / folder, listener, **recipe)
        job.checkpoints.save_arrays("epoch-3", sparse)
        job.narrator.expect(job.plan.path_epochs, job.plan.stage2_epochs)
        return job

    return make


@pytest.fixture(scope="session")
def short() -> Callable[..., Recipe]:
    return _short
