"""Every error that learndrop raises on purpose.

LearndropError
├── BadInput                 the sender's mistake: retrying the same thing will not help
│   ├── BadBody              the request as a whole cannot be read
│   │   ├── TooLarge         a body, a batch or a picture over its documented limit
│   │   ├── TooSlow          a body that did not arrive in time
│   │   └── UnknownFormat    a content type or picture format that is not accepted
│   ├── TooLong              pictures that take too long to decode
│   ├── BadPicture           one picture of a batch; carries its index
│   ├── BadParameter         a parameter of the address that there is not, or that comes twice
│   ├── OtherContent         an Idempotency-Key that came with another body before
│   └── Contradiction        another answer to a question than the one that was given before
├── Denied                   who asks may not; carries the `role` that is needed
│   ├── KeyNeeded            no API key was given, or none that is known
│   ├── RoleNeeded           the key lacks the role
│   └── ForeignPage          a web page of another site asks, where no key is needed
├── BadMessage               a stream entry that cannot be read; it is buried
├── NotLearnedYet            a prediction before the first label was learned
├── NotLeading               another worker has the lease: this one may write nothing
├── NotFound                 an id or a version that is not kept (any more)
│   └── Expired              one that was kept for its time, and no longer
├── Unavailable              try again later; carries `retry_after_s`
│   ├── StreamFull           the stream is at its limit
│   │   └── ShareFull        the sender's key holds its share of it
│   ├── RateLimited          the sender's key asks more often than it may
│   ├── StillRunning         the same request, by its Idempotency-Key, is under way
│   ├── StreamAway           the Redis server does not answer
│   ├── NotDurable           the Redis server is set up so that it could lose samples
│   ├── NoModel              no version is published yet
│   ├── Busy                 the queue for predictions is full
│   ├── DecoderEnded         a process that decodes picture files ended with some in hand
│   └── ServerAway           the client: nobody answers at the service's address
├── DamagedFile              a blob, manifest or checkpoint that is not what was written
│   └── UnknownFileFormat    written by a newer learndrop
├── BadNetwork               the network cannot be built, traced or cut
├── BadSettings              a setting, or two together, that cannot be used
├── DidNotStart              a port that is taken, a folder in use, a server that does not come up
└── ServerRefused            the client: an answer of the service that is an error
"""

from __future__ import annotations


class LearndropError(Exception):
    """The root of all errors raised on purpose."""


class BadInput(LearndropError):
    """The sender's mistake, told with the item, the limit and the value."""

    def __init__(
        self,
        message: str,
        *,
        item: str | None = None,
        limit: object = None,
        value: object = None,
    ) -> None:
        super().__init__(message)
        self.item, self.limit, self.value = item, limit, value


class BadBody(BadInput):
    """The request as a whole cannot be read."""


class TooLarge(BadBody):
    """Something is over a documented limit."""


class TooSlow(BadBody):
    """The body did not arrive in time."""


class UnknownFormat(BadBody):
    """A content type or a picture format that is not accepted."""


class TooLong(BadInput):
    """The pictures of a request take longer to decode than is allowed."""


class BadPicture(BadInput):
    """One picture of a batch cannot be used; `index` counts from 0."""

    def __init__(
        self, message: str, *, index: int = 0, limit: object = None, value: object = None
    ) -> None:
        super().__init__(message, item=f"images[{index}]", limit=limit, value=value)
        self.index = index


class BadParameter(BadInput):
    """A parameter of the address that there is not, or that comes twice."""


class OtherContent(BadInput):
    """An Idempotency-Key that came with another body before."""


class Denied(LearndropError):
    """Who asks may not; `role` names what is needed."""

    def __init__(self, message: str, *, role: str) -> None:
        super().__init__(message)
        self.role = role


class KeyNeeded(Denied):
    """No API key was given, or none that is known."""


class RoleNeeded(Denied):
    """The key that was given lacks the role."""


class ForeignPage(Denied):
    """A web page of another site asks, where no key is needed."""


class Contradiction(BadInput):
    """Another answer to a question than the one that was given before."""


class BadMessage(LearndropError):
    """A stream entry that cannot be read: retrying will not help."""


class NotLearnedYet(LearndropError):
    """Asked to predict before any label was learned."""


class NotLeading(LearndropError):
    """Another worker has the lease: whatever this one still wants to write is refused."""


class NotFound(LearndropError):
    """An id or a version that is not kept (any more)."""


class Expired(NotFound):
    """An id that was kept for its time, and no longer."""


class Unavailable(LearndropError):
    """Not now: try again after `retry_after_s` seconds."""

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float = 1.0,
        limit: object = None,
        value: object = None,
    ) -> None:
        super().__init__(message)
        self.retry_after_s, self.limit, self.value = retry_after_s, limit, value


class StreamFull(Unavailable):
    """The stream holds as many unlearned samples as it may."""


class ShareFull(StreamFull):
    """The sender's key holds its share of the stream."""


class RateLimited(Unavailable):
    """The sender's key asks more often than it may."""


class StillRunning(Unavailable):
    """The same request, by its Idempotency-Key, is under way."""


class StreamAway(Unavailable):
    """The Redis server does not answer."""


class NotDurable(Unavailable):
    """The Redis server is set up so that it could lose what it takes."""


class NoModel(Unavailable):
    """No model version is published yet."""


class Busy(Unavailable):
    """The queue for predictions is full."""


class DecoderEnded(Unavailable):
    """A process that decodes picture files ended; `spent_s` is how long it had worked on them."""

    def __init__(self, why: str, spent_s: float = 0.0) -> None:
        super().__init__(f"the process that decoded the pictures ended ({why})")
        self.why, self.spent_s = why, spent_s


class ServerAway(Unavailable):
    """Nobody answers at the service's address, or an answer was lost on the way."""


class DamagedFile(LearndropError):
    """A file is not what was written."""


class UnknownFileFormat(DamagedFile):
    """A file of a newer format than this learndrop reads."""


class BadNetwork(LearndropError):
    """The network cannot be built, traced or cut."""


class BadSettings(LearndropError):
    """A setting, or two together, that cannot be used."""


class DidNotStart(LearndropError):
    """A part of the service could not start."""


class ServerRefused(LearndropError):
    """The service answered a client with an error."""

    def __init__(self, message: str, *, status: int, problem: dict[str, object]) -> None:
        super().__init__(message)
        self.status, self.problem = status, problem
