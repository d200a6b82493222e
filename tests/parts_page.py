"""A page of parts with nothing around them."""

from kernmalloc.web.page import Part, page


def html(*parts: Part) -> str:
    """The page."""
    return page("parts", (), parts)
