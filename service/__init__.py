"""The FastAPI application: its wiring, what every request passes, and what runs beside."""
