"""``python -m tieshare_service.cli`` is the ``tieshare`` command."""

from tieshare_service.cli import main

main(prog_name="tieshare")
