"""Answers in plain words to what cannot be had, now or at all."""

from __future__ import annotations

from flask import Response


def still_reading(words: str) -> Response:
    """The answer instead of half a file, while a run is read for the first time."""
    answer = refused(503, f"The run is not read yet ({words}). Try again in a moment.")
    answer.headers["Retry-After"] = "5"
    return answer


def refused(status: int, words: str) -> Response:
    """One line of text."""
    return Response(f"{words}\n", status=status, mimetype="text/plain")
