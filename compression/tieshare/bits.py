"""In how many bits the weights of each layer are stored."""

from collections.abc import Callable, Mapping

from tieshare.rounding import BITS
from tieshare.score import is_error
from tieshare.stage2 import Retraining

# What rounding may cost before the network is trained with it: most of that comes back.
ALLOWED, ALLOWED_ERROR = 0.02, 0.1


def choose_bits(training: Retraining, fewest: int) -> dict[str, int]:
    """By weight, ``fewest`` bits (4, 8 or 16), and more where the network can't do with them.

    Nothing is trained here: the network is scored on held-out samples with its weights rounded.
    It may lose two points, or gain a tenth of its error where it is scored by that.
    """
    network, trainer = training.network, training.trainer
    sizes = {name: network.twin.parameter(name).numel() for name in network.units}

    def score(bits: Mapping[str, int]) -> float:
        network.round_to(bits)
        return float(trainer.right(network).mean())

    exact = score({})
    error = is_error(trainer.objective.goals)
    allowed = ALLOWED_ERROR * abs(exact) + 1e-8 if error else ALLOWED
    bits = fewest_bits(sizes, lambda bits: exact - score(bits), fewest, allowed)
    network.round_to({})
    return bits


def fewest_bits(
    sizes: Mapping[str, int],
    lost: Callable[[Mapping[str, int]], float],
    fewest: int,
    allowed: float,
) -> dict[str, int]:
    """Bits by weight so that the loss is at most ``allowed``, or 16 for all.

    ``sizes``  numbers in each weight.
    ``lost``   with some weights in so many bits, and the others exact.

    1. All begin with ``fewest``.
    2. While too much is lost, one more weight gets 8: next comes the one that alone loses most for
       the bytes that it saves. When all have 8, the same goes on to 16.
    """
    bits = dict.fromkeys(sizes, fewest)
    for more in (width for width in BITS if width > fewest):
        if lost(bits) <= allowed:
            return bits
        alone = {name: lost({name: width}) / sizes[name] for name, width in bits.items()}
        for name in sorted(alone, key=alone.__getitem__, reverse=True):
            bits[name] = more
            if lost(bits) <= allowed:
                return bits
    return bits
