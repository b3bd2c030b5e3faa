import numpy as np

from tieshare.exports.rows import read_rows


def test_zero_rows_are_dead_and_equal_rows_are_one_cluster_in_order_of_appearance() -> None:
    W = np.array([[0, 0], [5, 1], [2, 2], [5, 1], [0, 0]], dtype=np.float32)
    rows = read_rows(W)
    assert rows.numbers.tolist() == [-1, 0, 1, 0, -1]
    assert rows.first.tolist() == [1, 2]
    assert rows.alive.tolist() == [1, 2, 3]
    assert rows.clusters == 2
    assert not rows.distinct


def test_rows_that_differ_in_the_last_bit_are_not_tied() -> None:
    one = np.float32(1)
    rows = read_rows(np.array([[one], [np.nextafter(one, np.float32(2))]]))
    assert rows.numbers.tolist() == [0, 1]
    assert rows.distinct


def test_a_row_of_negative_zeros_is_dead() -> None:
    assert read_rows(np.array([[-0.0, 0.0], [1.0, 0.0]])).numbers.tolist() == [-1, 0]


def test_all_rows_may_be_dead() -> None:
    rows = read_rows(np.zeros((3, 2)))
    assert rows.clusters == 0
    assert rows.numbers.tolist() == [-1, -1, -1]


def test_rows_are_found_in_a_matrix_that_is_not_contiguous() -> None:
    W = np.array([[1, 2, 1], [3, 4, 3]], dtype=np.float32).T
    assert read_rows(W).numbers.tolist() == [0, 1, 0]
