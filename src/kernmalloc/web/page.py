"""A page: parts, one below the other, each drawn by a view."""

from typing import NamedTuple


class Part(NamedTuple):
    """One part of a page: the JavaScript function that draws it, `view(root, data, page)`, its heading, and its data,
    of which JSON can be made."""

    view: str
    title: str
    data: object
