"""``python -m tieshare_service.openapi [FOLDER]`` writes the OpenAPI documents of both APIs."""

from pathlib import Path
from typing import Any

import click
import orjson

from tieshare_service.control.app import create_app
from tieshare_service.inference import openapi as inference
from tieshare_service.settings import Settings


def documents() -> dict[str, dict[str, Any]]:
    """The documents by file name."""
    return {
        "control.json": create_app(Settings()).openapi(),
        "inference.json": inference.document(),
    }


def rendered(document: dict[str, Any]) -> bytes:
    """A document as it lies in its file."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("openapi"))
def main(folder: Path) -> None:
    """Write control.json and inference.json into FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in documents().items():
        (folder / name).write_bytes(rendered(document))


if __name__ == "__main__":
    main()
