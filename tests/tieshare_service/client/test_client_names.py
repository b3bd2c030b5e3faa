import tieshare_service.client
from tieshare_service.client import ClientError, errors


def test_the_exported_names_are_the_public_names() -> None:
    public = {
        name
        for name, value in vars(tieshare_service.client).items()
        if not name.startswith("_") and hasattr(value, "__module__")
    }
    public |= {"ServedFile", "Status"}

    assert sorted(tieshare_service.client.__all__) == sorted(public)


def test_every_exception_of_the_client_has_one_root_and_stands_in_the_tree() -> None:
    kinds = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, Exception)
    ]
    tree = errors.__doc__ or ""

    assert all(issubclass(kind, ClientError) for kind in kinds)
    assert [kind.__name__ for kind in kinds if kind.__name__ not in tree] == []
