"""Reading npz files, sound ones and those of strangers."""

import io
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tieshare.data import read_npz
from tieshare.errors import BadArray, DataError, NotNpz

Write = Callable[[bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(content: bytes) -> Path:
        path = tmp_path / "data.npz"
        path.write_bytes(content)
        return path

    return to_file


def npy(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version, allow_pickle=True)
    return file.getvalue()


def headed(header: str, body: bytes = b"") -> bytes:
    """An npy file with this text as its header."""
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def declaring(descr: str = "'<f4'", shape: str = "(2,)", fortran: str = "False") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}}}"
    return headed(header, bytes(8))


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


ARRAYS: dict[str, np.ndarray] = {
    "bool": np.array([True, False]),
    "uint8": np.arange(6, dtype=np.uint8).reshape(3, 2),
    "int64": np.array([-1, 2**62]),
    "float16": np.ones((2, 1, 1), dtype=np.float16),
    "float32": np.random.default_rng(0).standard_normal((4, 5, 6)).astype(np.float32),
    "big-endian": np.arange(6, dtype=">f8").reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "odd/name: 1": np.zeros(1),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back_equal_in_native_c_order(
    save: Callable[..., None], tmp_path: Path
) -> None:
    save(tmp_path / "all.npz", **ARRAYS)
    read = read_npz(tmp_path / "all.npz").arrays
    assert list(read) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype.newbyteorder("=")
        assert read[name].dtype.isnative
        assert read[name].flags.c_contiguous
        assert read[name].flags.writeable


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_of_the_header_is_read(version: tuple[int, int], write: Write) -> None:
    array = np.arange(4.0)
    read = read_npz(write(zipped({"x.npy": npy(array, version)})))
    np.testing.assert_array_equal(read.arrays["x"], array)


def test_an_array_of_several_pieces_is_read_whole(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tieshare.data.npz._CHUNK", 1000)
    array = np.arange(5001, dtype=np.int16)
    content = zipped({"x.npy": npy(array)}, zipfile.ZIP_DEFLATED)
    np.testing.assert_array_equal(read_npz(write(content)).arrays["x"], array)


class Pickled:
    """Whoever unpickles it writes to a folder that is not there."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("/nowhere/at/all", "w"))


def test_an_object_array_is_refused_and_never_unpickled(write: Write) -> None:
    content = zipped({"x.npy": npy(np.array([Pickled()], dtype=object))})
    with pytest.raises(BadArray, match=r"'x' has dtype \|O") as caught:
        read_npz(write(content))
    assert caught.value.where == "x"


@pytest.mark.parametrize(
    "array",
    [
        np.array(["a", "b"]),
        np.array([b"a"]),
        np.array([1j]),
        np.array(["2020-01-01"], dtype="datetime64[D]"),
        np.zeros(2, dtype=[("a", "f4"), ("b", "i4")]),
        np.zeros(2, dtype="V8"),
        np.zeros(2, dtype=np.longdouble),
    ],
    ids=lambda array: str(array.dtype),
)
def test_what_is_no_plain_number_is_refused(array: np.ndarray, write: Write) -> None:
    with pytest.raises(BadArray, match=r"'x' has dtype .* are accepted"):
        read_npz(write(zipped({"x.npy": npy(array)})))


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_an_empty_array_is_refused(shape: tuple[int, ...], write: Write) -> None:
    with pytest.raises(BadArray, match="'x' is empty"):
        read_npz(write(zipped({"x.npy": npy(np.zeros(shape))})))


def test_a_single_value_is_refused(write: Write) -> None:
    with pytest.raises(BadArray, match="no axis of samples"):
        read_npz(write(zipped({"x.npy": npy(np.array(3.0))})))


@pytest.mark.parametrize("shape", ["(3,)", "(1,)", "(9223372036854775807,)", f"({10**30}, 7)"])
def test_a_header_that_declares_another_size_than_the_file_holds_is_refused(
    shape: str, write: Write
) -> None:
    with pytest.raises(BadArray, match="'x': its header declares") as caught:
        read_npz(write(zipped({"x.npy": declaring(shape=shape)})))
    assert caught.value.where == "x"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x09\x00" + bytes(20),
        b"PK\x03\x04" + bytes(100),
        headed("{'descr': '<f4'}"),
        headed("[]"),
        headed("__import__('os').abort()"),
        headed("(" * 9000),
        headed("-" * 9000 + "1"),
        headed("\x00"),
        headed("{" + "'a': 1, " * 2000 + "}"),
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
        declaring(shape="[2]"),
        declaring(shape="(2.0,)"),
        declaring(shape="(True,)"),
        declaring(shape="(-2,)"),
        declaring(shape="2"),
        declaring(fortran="'yes'"),
        declaring(descr="['<f4']"),
        declaring(descr="'f4,f4'"),
        declaring(descr="'(1000000,)f4'"),
        declaring(descr="None"),
    ],
)
def test_a_damaged_or_hostile_header_is_refused(content: bytes, write: Write) -> None:
    with pytest.raises(BadArray, match="array 'x'") as caught:
        read_npz(write(zipped({"x.npy": content})))
    assert caught.value.where == "x"


@pytest.mark.parametrize(
    "content",
    [b"", b"PK", b"not a zip", npy(np.zeros(3))],
    ids=["empty", "two bytes", "text", "npy"],
)
def test_what_is_no_archive_is_refused(content: bytes, write: Write) -> None:
    with pytest.raises(NotNpz, match="not a readable npz archive"):
        read_npz(write(content))


def test_an_archive_of_other_files_is_refused(write: Write) -> None:
    with pytest.raises(NotNpz, match="no npy file") as caught:
        read_npz(write(zipped({"x.npy": npy(np.zeros(3)), "notes.txt": b"hello"})))
    assert caught.value.where == "notes.txt"


def test_an_array_that_comes_twice_is_refused(write: Write) -> None:
    content = zipped({"x.npy": npy(np.zeros(3)), "y.npy": npy(np.ones(3))})
    with pytest.raises(NotNpz, match="'x' twice"):
        read_npz(write(content.replace(b"y.npy", b"x.npy")))


def test_a_method_that_numpy_does_not_write_is_refused(write: Write) -> None:
    content = zipped({"x.npy": npy(np.zeros(3))}, zipfile.ZIP_LZMA)
    with pytest.raises(NotNpz, match="otherwise than by deflate"):
        read_npz(write(content))


def test_an_encrypted_file_is_refused(write: Write) -> None:
    content = bytearray(zipped({"x.npy": npy(np.zeros(3))}))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(NotNpz, match="encrypted"):
        read_npz(write(bytes(content)))


def test_the_limits_hold_at_the_limit_and_one_above(write: Write) -> None:
    files = {"x.npy": npy(np.zeros(1000)), "y.npy": npy(np.zeros(10))}
    path = write(zipped(files, zipfile.ZIP_DEFLATED))
    total = sum(map(len, files.values()))
    assert len(read_npz(path, max_bytes=total, max_arrays=2).arrays) == 2
    with pytest.raises(NotNpz, match=f"take {total} bytes unpacked"):
        read_npz(path, max_bytes=total - 1)
    with pytest.raises(NotNpz, match="holds 2 files"):
        read_npz(path, max_arrays=1)


def test_a_directory_that_declares_less_than_is_packed_gives_no_more(write: Write) -> None:
    """The limit looks at the directory; what it hides is never unpacked."""
    true = npy(np.zeros(100_000))
    content = bytearray(zipped({"x.npy": true}, zipfile.ZIP_DEFLATED))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", content, content.index(signature) + offset, 1000)
    with pytest.raises(DataError):
        read_npz(write(bytes(content)), max_bytes=1000)


def test_flipped_bits_are_found_by_the_checksum(write: Write) -> None:
    content = bytearray(zipped({"x.npy": npy(np.zeros(1000))}))
    content[len(content) // 2] ^= 1
    with pytest.raises(NotNpz, match="CRC"):
        read_npz(write(bytes(content)))


def test_no_cut_and_no_damage_raises_anything_but_a_data_error(write: Write) -> None:
    rng = np.random.default_rng(0)
    sound = zipped(
        {"x.npy": npy(rng.standard_normal(20)), "y.npy": npy(np.arange(20))}, zipfile.ZIP_DEFLATED
    )
    refused = 0
    for case in range(400):
        damaged = bytearray(sound)
        if case % 2:
            del damaged[int(rng.integers(len(sound))) :]
        for place in rng.integers(len(damaged) or 1, size=3):
            if place < len(damaged):
                damaged[place] = rng.integers(256)
        try:
            read_npz(write(bytes(damaged)))
        except DataError:
            refused += 1
    assert refused > 300


def test_a_file_that_is_not_there_is_the_callers_matter(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "nothing.npz")


def test_the_reader_loads_no_trainer() -> None:
    heavy = "{'torch', 'sklearn', 'scipy', 'onnx', 'onnxruntime'}"
    code = f"import sys, tieshare.data; sys.exit(len({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["../x", "/x", "a/../x", "a/..", "C:\\x", ".", "x\n", "n" * 1001])
def test_a_name_that_is_a_path_is_refused(name: str, write: Write) -> None:
    with pytest.raises(NotNpz, match="name"):
        read_npz(write(zipped({f"{name}.npy": npy(np.zeros((3, 2)))})))


@pytest.mark.parametrize("name", ["x", "serving/x:0", "x.1", "a..b", "an input"])
def test_an_input_of_a_model_may_have_any_other_name(name: str, write: Write) -> None:
    path = write(zipped({f"{name}.npy": npy(np.zeros((3, 2)))}))
    assert list(read_npz(path).arrays) == [name]
