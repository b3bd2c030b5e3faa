"""The data set of a job: read from an npz file, described, and fitted to a model.

    dataset   arrays by name, and the card that describes them
    npz       bytes of a stranger to a data set, without pickle
    specs     what of a model's card a data set must know
    roles     which array is which input or target, of which split
    shapes    how samples take a shape that leaves axes free
    images    which samples are images, and along which axes they lie
    inputs    an array in the shape and dtype of a model's input
    targets   what the target means: classes, several labels, or numbers
    fit       all of it: a data set and a model to three splits; and the check from cards alone

The format, by example in docs/data.md: one array a model input under the input's name (``x``
where there is one input), the target as ``y``, or ``y_OUTPUT`` for each output that is to be kept
where there are several; the same names may end in ``_train``. A test split ends in ``_test`` and
is read by the report alone; a split to choose on ends in ``_val``. Where one of these is missing,
a seeded tenth of the training samples is set aside for it.
"""

from tieshare.data.dataset import ArrayCard, Dataset, DatasetCard, describe_dataset, with_test
from tieshare.data.fit import Samples, Splits, check_fit, fit
from tieshare.data.npz import read_npz
from tieshare.data.targets import NO_LABEL, Goal, Task

__all__ = [
    "NO_LABEL",
    "ArrayCard",
    "Dataset",
    "DatasetCard",
    "Goal",
    "Samples",
    "Splits",
    "Task",
    "check_fit",
    "describe_dataset",
    "fit",
    "read_npz",
    "with_test",
]
