"""There is no GPU here: what can be checked is that nothing is left on the CPU, and the numbers of
mixed precision, which a CPU computes as well."""

import pytest
import torch
from examples.networks import ARCHITECTURES, export
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from tieshare.data import Goal
from tieshare.device import CPU, chosen, running_on
from tieshare.errors import RecipeError
from tieshare.objective import Objective
from tieshare.recipe import Augment
from tieshare.trainer import Loaded, Trainer, every
from tieshare.twin import Twin, from_onnx

WIDTHS = {"mlp": 32, "encoder": 16, "vit": 16, "gpt": 16}


def twin_and_inputs(name: str) -> tuple[Twin, list[Tensor]]:
    made = ARCHITECTURES[name]
    torch.manual_seed(0)
    model = export(made.make(WIDTHS.get(name, 8)), made.example(2), made.outputs)
    arrays = made.data()
    return from_onnx(model), [torch.from_numpy(arrays[key][:4].copy()) for key in made.inputs]


def test_without_a_gpu_auto_is_the_cpu_and_asking_for_one_is_refused() -> None:
    assert chosen("auto") == chosen("cpu") == CPU
    with pytest.raises(RecipeError, match="no GPU") as refused:
        chosen("cuda")
    assert refused.value.where == "device"


def test_a_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert [chosen(name).type for name in ("auto", "cpu", "cuda")] == ["cuda", "cpu", "cuda"]


def test_on_a_cpu_nothing_is_changed() -> None:
    with running_on(CPU, mixed=True):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def on_fake_gpu(tensor: Tensor) -> Tensor:
    """One without numbers."""
    return torch.empty_strided(
        tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cuda", requires_grad=False
    )


@pytest.mark.filterwarnings("ignore:CUDA is not available")
@pytest.mark.parametrize("name", ["mlp", "lenet5", "resnet18", "shufflenet", "two_inputs"])
def test_data_network_and_what_it_makes_on_the_way_all_lie_on_the_gpu(name: str) -> None:
    """Shapes that the graph itself works out need numbers: such networks can't be checked so."""
    twin, inputs = twin_and_inputs(name)
    outputs = every(twin(*inputs))
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        for module in twin.modules():
            for key, buffer in module._buffers.items():
                module._buffers[key] = None if buffer is None else on_fake_gpu(buffer)
            for key, weight in module._parameters.items():
                if weight is not None:
                    made = nn.Parameter(on_fake_gpu(weight), requires_grad=False)
                    module._parameters[key] = made
        data = Loaded(tuple(map(on_fake_gpu, inputs)), tuple(map(on_fake_gpu, outputs)))
        goals = tuple(Goal(f"y{place}", "regression", None, None) for place in range(len(outputs)))
        objective = Objective(goals, 0.5, 1.0)

        def teacher(*_: object) -> tuple[Tensor, ...]:
            return data.targets

        trainer = Trainer(data, data, objective, 4, teacher, Augment(shift=1))
        assert trainer.device.type == "cuda"
        assert trainer.loss(twin, on_fake_gpu(torch.arange(4))).device.type == "cuda"


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_network_trains_in_mixed_precision(name: str) -> None:
    """The gradient is that of float32, but for the fewer digits."""
    twin, inputs = twin_and_inputs(name)
    twin.train()

    def gradient() -> Tensor:
        torch.manual_seed(0)
        twin.zero_grad()
        torch.stack(
            [output.float().square().mean() for output in every(twin(*inputs))]
        ).mean().backward()
        return torch.cat(
            [weight.grad.flatten() for weight in twin.parameters() if weight.grad is not None]
        )

    exact = gradient()
    try:
        with torch.autocast("cpu", torch.bfloat16):
            mixed = gradient()
    except RuntimeError as error:
        if "could not create a primitive descriptor" in str(error):
            pytest.skip("this processor has no bfloat16 for a node of this network")
        raise
    assert mixed.dtype == exact.dtype
    assert torch.cosine_similarity(mixed, exact, dim=0) > 0.98
    assert mixed.norm() / exact.norm() == pytest.approx(1, abs=0.1)
