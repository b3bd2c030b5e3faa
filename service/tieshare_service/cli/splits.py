"""The data set of ``tieshare compress``; apart from the command, since it loads numpy."""

from pathlib import Path

from tieshare.data import Dataset, read_npz, with_test


def read(data: Path, test: Path | None) -> Dataset:
    """The data set at ``data``, with the one at ``test`` as its test split."""
    dataset = read_npz(data)
    return with_test(dataset, read_npz(test)) if test else dataset
