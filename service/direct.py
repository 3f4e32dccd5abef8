"""A route without the framework's tree of dependencies, where a request leaves it nothing to do.

Solving dependencies and validating parameters costs as much as all of our work on 64 samples. A
function that takes the request, and headers that may be left out, needs neither as long as these
headers do not come: then only those are asked who admit the request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

Handler = Callable[[Request], Awaitable[Response]]


class DirectRoute(APIRoute):
    """Calls its function with the request alone if there is nothing else to hand to it.

    For functions that make their answer themselves. OpenAPI sees the whole of it.
    """

    def get_route_handler(self) -> Any:
        """What answers a request."""
        whole = super().get_route_handler()
        needed = self.dependant
        if (
            needed.path_params
            or needed.query_params
            or needed.cookie_params
            or needed.body_params
            or needed.request_param_name is None
            or any(field.field_info.is_required() for field in needed.header_params)
        ):
            return whole
        request_name, endpoint = needed.request_param_name, self.endpoint
        headers = [field.alias for field in needed.header_params]
        admit = [depends.dependency for depends in self.dependencies if depends.dependency]

        async def direct(request: Request) -> Response:
            if any(name in request.headers for name in headers):
                answer: Response = await whole(request)
                return answer
            for ask in admit:
                await ask(request)
            answer = await endpoint(**{request_name: request})
            return answer

        return direct
