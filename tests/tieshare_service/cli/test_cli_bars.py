"""Progress as a terminal shows it."""

import io
from typing import Any

from rich.console import Console

from tieshare_service.cli.bars import StageBars


def drawn(front: list[dict[str, Any]], *, terminal: bool) -> str:
    """All that was drawn while a front of three points grew, without what moves the cursor."""
    file = io.StringIO()
    console = Console(
        file=file,
        force_terminal=terminal,
        legacy_windows=False,
        color_system=None,
        width=80,
        height=30,
        _environ={},
    )
    with StageBars(console) as stages:
        stages.show("path", 3, 9, 65.0, {"accuracy": 0.5})
        stages.show_front(front[:1])
        stages.show_front(front)
    return file.getvalue()


def test_a_terminal_shows_the_front_as_a_table_that_grows(front: list[dict[str, Any]]) -> None:
    text = drawn(front, terminal=True)
    first = text.index("49,435")
    assert text.index("-1:05") < first < text.index("21,000")
    assert "new point" not in text
    assert "38,000    7,600   25.3x   15.2 µs    58.8 µs   chosen" in text
    # The table is part of the result, which is printed next: only the bars stay.
    assert text.rindex("9/9") > text.rindex("21,000")


def test_a_log_has_a_line_a_point_and_no_table(front: list[dict[str, Any]]) -> None:
    lines = drawn(front, terminal=False).splitlines()
    assert [line.split(",")[0] for line in lines[:3]] == [
        "new point: 98.18 %",
        "new point: 97.98 %",
        "new point: 97.74 %",
    ]
    assert len(lines) == 4
    assert lines[3].startswith("path")
