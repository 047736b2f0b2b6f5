"""Answers that several routes give."""

from starlette.responses import JSONResponse, Response

PRIVATE = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}


def gone() -> Response:
    """What is not allowed and what does not exist."""
    return JSONResponse({"error": "not-found"}, status_code=404, headers=PRIVATE)


def refusal(status: int, error: str) -> Response:
    """A request that cannot be followed, and why in one word."""
    return JSONResponse({"error": error}, status_code=status, headers=PRIVATE)
