"""The least that FastAPI and uvicorn can do with a body: read it. bench-ingest compares with it."""

from __future__ import annotations

import uvicorn
from fastapi import FastAPI, Request, Response

from learndrop.settings import load_settings

app = FastAPI(docs_url=None, redoc_url=None)


@app.get("/healthz")
async def healthz() -> Response:
    """The process lives."""
    return Response()


@app.post("/v1/samples")
async def read(request: Request) -> Response:
    """Read the body and forget it."""
    async for _ in request.stream():
        pass
    return Response(status_code=202)


if __name__ == "__main__":
    settings = load_settings()
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_level="warning",
    )
