"""A database that an earlier version made, brought to the tables of this one.

It runs in the transaction that opens the database: of several processes that start at once one
does it, and the others find it done.
"""

from sqlalchemy import Connection, Table, insert, inspect, text
from sqlalchemy.schema import CreateColumn


def upgrade(connection: Connection, jobs: Table, versions: Table) -> None:
    """Give ``jobs`` the column ``front``, and let a job have several ``versions``."""
    if not _has(connection, jobs, "front"):
        column = CreateColumn(jobs.c.front).compile(connection)
        connection.execute(text(f"ALTER TABLE jobs ADD COLUMN {column}"))
    if not _has(connection, versions, "file"):
        # SQLite takes no constraint from a table; nothing refers to this one, so it is made anew.
        query = text("SELECT name, version, job_id FROM versions")
        rows = [{**row, "file": "shared"} for row in connection.execute(query).mappings()]
        versions.drop(connection)
        versions.create(connection)
        if rows:
            connection.execute(insert(versions), rows)


def _has(connection: Connection, table: Table, column: str) -> bool:
    return any(found["name"] == column for found in inspect(connection).get_columns(table.name))
