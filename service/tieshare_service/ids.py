"""Names of models, jobs and the like: a prefix that tells the kind and 100 random bits."""

import base64
import re
import secrets
from typing import Literal

Kind = Literal["mdl", "dat", "job", "key", "upl"]

CHARACTERS = 20


def new_id(kind: Kind) -> str:
    """An id that no one has used or can guess, such as ``job_4tq...``."""
    text = base64.b32encode(secrets.token_bytes(15)).decode("ascii").lower()
    return f"{kind}_{text[:CHARACTERS]}"


def same_id(kind: Kind, other: str) -> str:
    """The id of this kind with the random bits of another one's."""
    return f"{kind}_{other.partition('_')[2]}"


def is_id(kind: Kind, text: str) -> bool:
    """Whether ``text`` has the shape of an id of this kind, so that it is safe in a path."""
    return re.fullmatch(rf"{kind}_[a-z2-7]{{{CHARACTERS}}}", text) is not None
