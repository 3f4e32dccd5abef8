"""The seconds that the pictures of one request may take."""

from __future__ import annotations

from learndrop.errors import TooLong


class Allowance:
    """What is left of a request's seconds of work; waiting for a turn costs nothing."""

    def __init__(self, most_s: float) -> None:
        self.most_s = self.left_s = most_s

    def insist(self) -> None:
        """Refuse further work where nothing is left.

        Raises:
            TooLong: naming what was allowed.
        """
        if self.left_s <= 0:
            raise self.too_long()

    def too_long(self) -> TooLong:
        """The refusal of a request whose time is up."""
        return TooLong(
            f"the pictures were still being decoded after {self.most_s:g} s",
            item="images",
            limit=self.most_s,
        )
