"""What counts as a version on disk."""

from pathlib import Path

from tieshare_service.inference.folder import scan


def _put(models_dir: Path, place: str, content: bytes = b"m") -> Path:
    path = models_dir / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_folder_that_does_not_exist_holds_nothing(tmp_path: Path) -> None:
    assert scan(tmp_path / "models") == {}


def test_only_finished_versions_count(tmp_path: Path) -> None:
    for place in (
        "a/1/model.onnx",
        "a/12/model.onnx",
        "b c/3/model.onnx",
        "a/.2.tmp/model.onnx",
        ".hidden/1/model.onnx",
        "a/0/model.onnx",
        "a/01/model.onnx",
        "a/-1/model.onnx",
        "a/x/model.onnx",
        "a/²/model.onnx",
        "a/4/other.onnx",
        "file",
        "a/5",
        "line\nbreak/1/model.onnx",
    ):
        _put(tmp_path, place)
    assert set(scan(tmp_path)) == {("a", 1), ("a", 12), ("b c", 3)}


def test_a_replaced_file_is_another_one(tmp_path: Path) -> None:
    path = _put(tmp_path, "a/1/model.onnx")
    before = scan(tmp_path)
    assert scan(tmp_path) == before
    _put(tmp_path, "a/1/new", b"n").replace(path)
    assert scan(tmp_path) != before
