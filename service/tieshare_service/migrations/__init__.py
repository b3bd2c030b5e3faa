"""A database that an earlier version made, brought to the tables of this one.

    migrate             what ``open_database`` calls
    env.py              what alembic runs, with that connection
    versions/           one file a change of the tables, each with the one before it

A change of a table in `records` needs a file in versions/, which becomes ``HEAD``.
"""

from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, String, Table, insert, inspect, select

from tieshare_service.errors import SettingsError

HEAD = "0001"
"""The newest of versions/; known here, so that alembic is loaded where it has work alone."""

_revisions = Table("alembic_version", MetaData(), Column("version_num", String(32), nullable=False))


def migrate(connection: Connection, metadata: MetaData) -> None:
    """Make all tables of ``metadata``, or change those that are there, in this transaction.

    Raises SettingsError where a later version has made the database.
    """
    found = inspect(connection)
    if not found.get_table_names():
        metadata.create_all(connection)
        _revisions.create(connection)
        connection.execute(insert(_revisions), {"version_num": HEAD})
    elif not found.has_table(_revisions.name) or connection.scalar(select(_revisions)) != HEAD:
        _upgrade(connection)


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise SettingsError("a later version of tieshare made it", where="database") from error
