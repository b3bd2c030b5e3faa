"""What the operations document beside their own answer: headers, files, refusals."""

from typing import Any

from tieshare_service.control.problems import MEDIA_TYPE

Responses = dict[int | str, dict[str, Any]]

PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_REASONS = {
    304: "the client has it already",
    400: "a header or the JSON can't be read",
    404: "there is no such thing",
    409: "its state does not allow this",
    413: "the body is over the limit",
    415: "a body in a form or a coding that is not taken",
    416: "the range begins after the last byte",
    422: "a value is wrong; `where` names it",
    503: "not at the moment",
}
_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}

_TEXT = {"type": "string"}


def _headers(**described: str) -> list[dict[str, Any]]:
    return [
        {"name": name.replace("_", "-"), "in": "header", "description": text, "schema": _TEXT}
        for name, text in described.items()
    ]


# What FastAPI does not see, for the handlers read the request themselves.
def raw_body(media_type: str, *, required: bool = True, digest: bool = False) -> dict[str, Any]:
    """Bytes of a file; ``digest``: of the whole of it, so that it may be sent along."""
    content = {media_type: _BINARY["application/octet-stream"]}
    described: dict[str, Any] = {"requestBody": {"required": required, "content": content}}
    if digest:
        described["parameters"] = _headers(
            Repr_Digest="`sha-256=:BASE64:` of the file (RFC 9530); refused where it is another's"
        )
    return described


CONDITIONS: dict[str, Any] = {
    "parameters": _headers(
        Range="one range of bytes; several are answered with the whole file",
        If_Range="an ETag: the range only if the file is still that one",
        If_None_Match="an ETag: 304 if the file is still that one",
    )
}


def problems(*statuses: int) -> Responses:
    """These refusals; 422 is always among them, for unknown parameters."""
    return {
        status: {"description": _REASONS[status], "content": PROBLEM}
        for status in sorted({*statuses, 422})
    }


def header(name: str, description: str) -> dict[str, Any]:
    """A header that an answer always has."""
    return {name: {"description": description, "required": True, "schema": _TEXT}}


def file(*media_types: str) -> Responses:
    """A file, in whole or in part."""
    headers = {
        **header("ETag", "changes with the bytes"),
        **header("Repr-Digest", "SHA-256 of the whole file (RFC 9530)"),
    }
    content = dict.fromkeys(media_types, _BINARY["application/octet-stream"])
    return {
        200: {"description": "the file", "headers": headers, "content": content},
        206: {
            "description": "one range of it",
            "headers": {**headers, **header("Content-Range", "which bytes, and of how many")},
            "content": content,
        },
        304: {"description": _REASONS[304], "headers": headers},
        **problems(404, 416),
    }
