"""The process behind the gate: reads one file that a stranger sent and prints what it is.

Standard input holds the request, ``{kind, path, memory_bytes, seconds}``; standard output gets
one JSON object, ``{card}``, ``{error: {type, message, where}}`` for an error that the file's owner
can mend, or ``{costly}`` where memory ran out, each with what the system lacks to confine it in
``missing``. What else can end it is the parent's to judge:
a signal, or an exit code above 0 from a reader that failed on something it did not foresee.
Should a file take the process over, that can read this file and what is installed, and say so.
"""

import json
import os
import resource
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tieshare.errors import TieshareError
from tieshare_service.confine import confine

_MOST_FILES = 64  # open at a time
UNFORESEEN = 3  # exit code: the reader raised something that is no TieshareError


def main() -> None:
    """Answer one request."""
    request = json.load(sys.stdin)
    describe = _READERS[request["kind"]]()
    path = Path(request["path"])
    _limit(request["memory_bytes"], request["seconds"])
    missing = confine([path, *_needed()])
    json.dump(_answer(describe, path) | {"missing": missing}, sys.stdout)


def _answer(describe: Callable[[Path], object], path: Path) -> dict[str, Any]:
    try:
        return {"card": _plain(describe(path))}
    except TieshareError as error:
        return {"error": {"type": error.type, "message": error.message, "where": error.where}}
    except MemoryError:
        return {"costly": "memory"}
    except Exception:
        sys.excepthook(*sys.exc_info())
        sys.exit(UNFORESEEN)


def _model_reader() -> Callable[[Path], object]:
    from tieshare.graph.read import describe, read_model  # noqa: PLC0415 - only what is asked for
    from tieshare.measure import check_runs  # noqa: PLC0415

    def card(path: Path) -> object:
        model = read_model(path.read_bytes())
        check_runs(model)
        return describe(model)

    return card


def _dataset_reader() -> Callable[[Path], object]:
    from tieshare.data import describe_dataset, read_npz  # noqa: PLC0415 - only what is asked for

    return lambda path: describe_dataset(read_npz(path))


_READERS: dict[str, Callable[[], Callable[[Path], object]]] = {
    "models": _model_reader,
    "datasets": _dataset_reader,
}


def _limit(memory_bytes: int, seconds: float) -> None:
    cpu = max(1, round(seconds))
    for what, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _MOST_FILES),
    ):
        resource.setrlimit(what, (value, value))


def _needed() -> list[Path]:
    """What Python and its libraries read on the way: themselves, and what machine this is."""
    places = [*sys.path, sys.prefix, sys.base_prefix, "/lib", "/lib64", "/usr/lib", "/usr/share"]
    machine = ["/dev/null", "/dev/urandom", "/etc/ld.so.cache", "/proc/cpuinfo", "/proc/meminfo"]
    return [Path(one) for one in (*places, *machine, f"/proc/{os.getpid()}", "/sys/devices/system")]


def _plain(card: object) -> Any:
    return asdict(card)  # type: ignore[call-overload]


if __name__ == "__main__":
    main()
