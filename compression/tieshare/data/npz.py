"""Bytes of a stranger to a data set.

An npz file is a zip archive with one npy file an array. Nothing is unpickled, and no more memory
is taken than the arrays' headers declare, which must agree with the archive's directory, whose
sum is limited before anything is unpacked.
"""

import ast
import math
import re
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from tieshare.data.dataset import Array, Dataset, check_array, refused_dtype
from tieshare.errors import BadArray, NotNpz

_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 10_000
_CHUNK = 1 << 24
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
# What zipfile and zlib raise on archives that are damaged or made to harm.
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    ValueError,
    OSError,
)
# Booleans, integers and floats of up to 64 bits; other text never reaches numpy's parser.
_NUMBERS = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")

# No path of a file system, though inputs of a model may be called a/b.
_NAME = re.compile(r"(?!/|.*(^|/)\.\.?(/|$))[^\\\x00-\x1f\x7f]{1,1000}")

_T = TypeVar("_T")


@dataclass(frozen=True)
class _Header:
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    size: int  # of the header itself, bytes

    @property
    def declared(self) -> int:
        """Bytes of the whole npy file."""
        return self.size + math.prod(self.shape) * self.dtype.itemsize


def read_npz(path: str | Path, *, max_bytes: int = 8 << 30, max_arrays: int = 64) -> Dataset:
    """Read an npz file, as np.savez and np.savez_compressed write it.

    ``max_bytes``: of all arrays together, unpacked. Arrays come out in C order and native bytes.
    NotNpz: not such an archive, or over a limit. BadArray: one array of it. OSError: no such file.
    """
    with Path(path).open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = _members(archive, max_bytes, max_arrays)
                return Dataset(
                    {name: _read(archive, member, name) for name, member in members.items()}
                )
        except _BROKEN as error:
            raise NotNpz(f"not a readable npz archive: {error}") from error


def _members(
    archive: zipfile.ZipFile, max_bytes: int, max_arrays: int
) -> dict[str, zipfile.ZipInfo]:
    """Array name -> its file in the archive; nothing has been unpacked yet."""
    listed = archive.infolist()
    if len(listed) > max_arrays:
        raise NotNpz(f"the archive holds {len(listed)} files; at most {max_arrays} are accepted")
    total = sum(member.file_size for member in listed)
    if total > max_bytes:
        raise NotNpz(f"the arrays take {total} bytes unpacked; at most {max_bytes} are accepted")
    members: dict[str, zipfile.ZipInfo] = {}
    for member in listed:
        name = member.filename.removesuffix(".npy")
        if name == member.filename:
            raise NotNpz(f"{name!r} in the archive is no npy file", where=name)
        if not _NAME.fullmatch(name):
            raise NotNpz(f"{name[:100]!r} in the archive is no name of an array", where=name[:100])
        if name in members:
            raise NotNpz(f"the archive holds array {name!r} twice", where=name)
        if member.flag_bits & _ENCRYPTED or member.compress_type not in _METHODS:
            raise NotNpz(
                f"array {name!r} is encrypted, or packed otherwise than by deflate", where=name
            )
        members[name] = member
    return members


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> Array:
    with archive.open(member) as file:
        header = _header(file, name)
        check_array(name, header.dtype, header.shape)
        if header.declared != member.file_size:
            raise BadArray(
                f"array {name!r}: its header declares {header.declared} bytes, the archive holds "
                f"{member.file_size}",
                where=name,
            )
        flat = np.empty(math.prod(header.shape), dtype=header.dtype)
        memory = memoryview(flat).cast("B")  # type: ignore[arg-type]
        # In pieces, as each is a copy. The last one has zipfile look at the checksum.
        for start in range(0, len(memory), _CHUNK):
            wanted = memory[start : start + _CHUNK]
            piece = file.read(len(wanted))
            if len(piece) != len(wanted):
                raise BadArray(f"array {name!r} is cut off", where=name)
            wanted[:] = piece
    array = flat.reshape(header.shape, order="F" if header.fortran else "C")
    return np.ascontiguousarray(array, dtype=header.dtype.newbyteorder("="))


def _header(file: IO[bytes], name: str) -> _Header:
    """Read an npy header: magic, version, length, and a Python dict as text."""
    start = file.read(8)
    if start[:6] != _MAGIC or start[6:] not in (b"\x01\x00", b"\x02\x00", b"\x03\x00"):
        raise BadArray(f"array {name!r} is not in npy format 1, 2 or 3", where=name)
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(file.read(width), "little")
    if length > _LONGEST_HEADER:
        raise BadArray(f"array {name!r} has a header of {length} bytes", where=name)
    try:
        fields = ast.literal_eval(file.read(length).decode("utf-8").strip())
        descr = fields["descr"]
        shape = tuple(_of_type(int, axis) for axis in _of_type(tuple, fields["shape"]))
        fortran = _of_type(bool, fields["fortran_order"])
    # A parser that gives up on deeply nested text says so by RecursionError or MemoryError.
    except (SyntaxError, ValueError, TypeError, LookupError, RecursionError, MemoryError) as error:
        raise BadArray(
            f"array {name!r} has a header that is no plain array's", where=name
        ) from error
    if not isinstance(descr, str) or not _NUMBERS.fullmatch(descr):
        raise refused_dtype(name, descr)
    if any(axis < 0 for axis in shape):
        raise BadArray(f"array {name!r} declares the shape {shape}", where=name)
    return _Header(np.dtype(descr), shape, fortran, 8 + width + length)


def _of_type(kind: type[_T], value: object) -> _T:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value
