"""Lists in pages, newest first: a token stands between two rows, whatever is inserted since."""

import base64
import binascii
from typing import Any

from sqlalchemy import Column, Connection, RowMapping, Select

from tieshare_service.errors import BadPageToken


def page(
    connection: Connection,
    query: Select[Any],
    number: Column[int],
    size: int,
    token: str | None,
) -> tuple[list[RowMapping], str | None]:
    """At most ``size`` rows of ``query`` by falling ``number``, and the token of the next page.

    Raises BadPageToken.
    """
    query = query.add_columns(number.label("page_number")).order_by(number.desc())
    if token is not None:
        query = query.where(number < _decoded(token))
    rows = list(connection.execute(query.limit(size + 1)).mappings())
    if len(rows) <= size:
        return rows, None
    return rows[:size], _encoded(rows[size - 1]["page_number"])


def _encoded(number: int) -> str:
    return base64.urlsafe_b64encode(f"before:{number}".encode()).decode().rstrip("=")


def _decoded(token: str) -> int:
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        word, _, digits = text.decode("ascii").partition(":")
        number = int(digits) if digits.isdecimal() else 0
    except (binascii.Error, ValueError) as error:
        raise BadPageToken from error
    if word != "before" or not 0 < number < 1 << 63:
        raise BadPageToken
    return number
