"""A database that an earlier version made, brought to the tables of this one.

It runs in the transaction that opens the database: of several processes that start at once one
does it, and the others find it done.
"""

from sqlalchemy import Connection, MetaData, Table, insert, inspect, text
from sqlalchemy.schema import CreateColumn


def upgrade(connection: Connection, metadata: MetaData) -> None:
    """Give every table the columns that it lacks, with indexes; let a job have several versions."""
    versions = metadata.tables["versions"]
    if "file" in _lacking(connection, versions):
        # SQLite takes no constraint from a table; nothing refers to this one, so it is made anew.
        query = text("SELECT name, version, job_id FROM versions")
        rows = [{**row, "file": "shared"} for row in connection.execute(query).mappings()]
        versions.drop(connection)
        versions.create(connection)
        if rows:
            connection.execute(insert(versions), rows)
    for table in metadata.sorted_tables:
        new = _lacking(connection, table)
        for name in new:
            column = CreateColumn(table.c[name]).compile(connection)
            connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {column}"))
        for index in table.indexes:
            if any(column.name in new for column in index.columns):
                index.create(connection)


def _lacking(connection: Connection, table: Table) -> list[str]:
    known = {found["name"] for found in inspect(connection).get_columns(table.name)}
    return [column.name for column in table.columns if column.name not in known]
