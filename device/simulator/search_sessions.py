"""Searches that clients have begun and page through.

As on a real recorder there are few of them, a page is short, and a client that forgets EndSearch uses them up.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from lxml import etree

MAX_SEARCHES = 8
PAGE = {"recordings": 3, "events": 20}
"""The most results that one answer brings, whatever the client asks for."""


class TooManySearchesError(Exception):
    """Too many searches are open: end one of them."""


class UnknownSearchError(Exception):
    """There is no such search; perhaps it has expired."""


@dataclass
class Search:
    """What was found, how much of it the client has fetched, and until when it is kept for the client."""

    kind: str
    results: Sequence[etree._Element]
    endpoint: datetime
    keep_alive: timedelta
    expires_at: datetime
    fetched: int = 0

    @property
    def state(self) -> str:
        return "Completed" if self.fetched >= len(self.results) else "Searching"

    def take(self, count: int) -> Sequence[etree._Element]:
        found = self.results[self.fetched : self.fetched + count]
        self.fetched += len(found)
        return found


class Searches:
    """The open searches by their token; `now` is the recorder's clock."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._open: dict[str, Search] = {}

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, kind: str, results: Sequence[etree._Element], endpoint: datetime, keep_alive: timedelta) -> str:
        """Keep a search and return its token.

        Raises:
            TooManySearchesError
        """
        now = self._now()
        self._open = {token: search for token, search in self._open.items() if search.expires_at > now}
        if len(self._open) >= MAX_SEARCHES:
            raise TooManySearchesError(TooManySearchesError.__doc__)
        token = secrets.token_hex(4)
        self._open[token] = Search(kind, results, endpoint, keep_alive, now + keep_alive)
        return token

    def find(self, token: str, kind: str = "") -> Search:
        """The search, kept alive for another while.

        Raises:
            UnknownSearchError: there is none, of this kind if one is given.
        """
        search = self._open.get(token)
        if search is None or search.expires_at <= self._now() or (kind and kind != search.kind):
            raise UnknownSearchError(UnknownSearchError.__doc__)
        search.expires_at = self._now() + search.keep_alive
        return search

    def end(self, token: str) -> datetime:
        """Forget the search; returns how far it has come."""
        endpoint = self.find(token).endpoint
        del self._open[token]
        return endpoint
