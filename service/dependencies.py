"""What routes are handed: each only the little that it needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request

from learndrop.answers import Answers
from learndrop.board import ServiceBoard
from learndrop.messages import Sample
from learndrop.registry import Registry
from learndrop.settings import Settings
from learndrop.stream import Publisher
from service.intake import Intake
from service.metrics import ServiceMetrics
from service.pace import Pace
from service.serving import Serving


@dataclass(frozen=True, slots=True)
class Rooms:
    """Everything that `create_app` wires."""

    settings: Settings
    publisher: Publisher
    board: ServiceBoard
    answers: Answers
    registry: Registry
    serving: Serving
    intake: Intake
    metrics: ServiceMetrics
    pace: Pace = field(default_factory=Pace)


# These are `async` although they wait for nothing: FastAPI would run each in a thread otherwise.
async def rooms(request: Request) -> Rooms:
    """The rooms of the application that got the request."""
    return cast(Rooms, request.app.state.rooms)


InRooms = Annotated[Rooms, Depends(rooms)]


async def publisher(wired: InRooms) -> Publisher:
    """The ingress's side of the stream: it cannot even see `ack`."""
    return wired.publisher


async def labelled_samples(request: Request, wired: InRooms) -> list[Sample]:
    """The request's body as samples; refused as a whole if one of them is bad."""
    return await wired.intake.samples(request)


ToPublisher = Annotated[Publisher, Depends(publisher)]
Samples = Annotated[list[Sample], Depends(labelled_samples)]
