"""What the table of endpoints refuses before the first request, and what is derived from it."""

import msgspec
import pytest
from openapi_spec_validator import validate

from colonnade.presentation import Api, Get, Post, openapi_document
from colonnade.presentation.endpoints import InvalidEndpoint
from colonnade.system.wiring import answer_of

from .library import AddBook, BookById, Books, library


def test_names_in_a_path_are_fields() -> None:
    """A path may name only what its message has, each once."""
    with pytest.raises(InvalidEndpoint, match="isbn, which BookById does not have"):
        Get("/books/{isbn}", BookById)
    with pytest.raises(InvalidEndpoint, match="one name twice"):
        Get("/books/{book_id}/{book_id}", BookById)
    with pytest.raises(InvalidEndpoint, match="is not a path"):
        Get("books", Books)


def test_what_is_created_is_called_id() -> None:
    """`creates` has exactly one new name."""
    with pytest.raises(InvalidEndpoint, match="name the new thing there as"):
        Post("/books", AddBook, creates="/books/{isbn}")


def test_two_endpoints_cannot_answer_one_route() -> None:
    """The same method and path, whatever its names, is declared once."""
    with pytest.raises(InvalidEndpoint, match="declared twice"):
        Api(Get("/books", Books), Get("/books", Books))


def test_the_openapi_document_is_valid() -> None:
    """The document validates, serves the endpoints where the gateway does, and holds the examples."""
    api = library.services[0].api
    assert api is not None
    answers = {endpoint.message: answer_of(endpoint.message) for endpoint in api.endpoints}
    document = msgspec.json.decode(msgspec.json.encode(openapi_document("lending", "1", api, answers, "/api/lending")))
    validate(document)
    post = document["paths"]["/api/lending/books"]["post"]
    assert post["requestBody"]["content"]["application/json"]["example"]["title"] == "Emma"
    assert "201" in post["responses"]
    lend = document["paths"]["/api/lending/books/{book_id}/lending"]["post"]
    assert "book_id" not in lend["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert [parameter["name"] for parameter in lend["parameters"][:1]] == ["book_id"]
