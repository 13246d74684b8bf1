"""Lists that come in pages: what a client asks for, and where the next page is."""

from fastapi import Request
from pydantic import BaseModel, Field

from backend.web.addresses import address


class PageQuery(BaseModel):
    """Which part of a list."""

    limit: int = Field(default=50, ge=1, le=100)
    cursor: str | None = Field(
        default=None, max_length=4096, description="From the `next` link of the page before; opaque"
    )


def next_link(request: Request, cursor: str, parameters: str) -> str:
    """The Link to the page that a cursor leads to, of the list of these parameters."""
    query = f"{parameters}&cursor={cursor}" if parameters else f"cursor={cursor}"
    return f'<{address(request)}?{query}>; rel="next"'
