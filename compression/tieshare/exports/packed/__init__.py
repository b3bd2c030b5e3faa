"""The packed export: the shared one in as few bytes as hold it.

``grids``     the values that are stored
``tensors``   one stored tensor in the fewest bytes
``coded``     a value written as tensors and the nodes that decode them
``whole``     the ways to write small whole numbers
``floats``    the ways to write a weight
``indices``   the ways to write the numbers of rows
``pool``      small vectors of floats, stored together
``upright``   weights stored as they are read
``coding``    a graph whose stored tensors are all written so
``opset``     the opset that has 4-bit tensors
``strip``     what running a graph does not need
``pack``      all of it
"""

from tieshare.exports.packed.pack import packed

__all__ = ["packed"]
