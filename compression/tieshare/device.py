"""Where training runs: on the CPU, or on a GPU with mixed precision."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tieshare.errors import RecipeError
from tieshare.recipe import DeviceName

CPU = torch.device("cpu")


def chosen(name: DeviceName) -> torch.device:
    """RecipeError: a GPU is asked for where torch finds none."""
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise RecipeError(
            "this machine has no GPU that torch can use; auto takes one where there is one",
            where="device",
        )
    return torch.device("cuda" if found and name != "cpu" else "cpu")


@contextmanager
def running_on(device: torch.device, *, mixed: bool = False) -> Iterator[None]:
    """Constants that a network makes as it runs lie on ``device``.

    ``mixed``: products and convolutions are computed in bfloat16 there, which has the range of
    float32, so that no gradient vanishes by it; on a CPU they stay float32, which is as fast.
    """
    if device.type == "cpu":
        yield
        return
    with device, torch.autocast(device.type, torch.bfloat16, enabled=mixed):
        yield
