"""The HTTP edge: routes, decoding, problems, OpenAPI. `build` makes the application, `serve` runs it."""

from sekisho.http.edge import Authenticate, Edge, Limits, build, problem
from sekisho.http.routes import ROUTES, Route
from sekisho.http.serve import Listen, Listener, serve, serving

__all__ = [
    "ROUTES",
    "Authenticate",
    "Edge",
    "Limits",
    "Listen",
    "Listener",
    "Route",
    "build",
    "problem",
    "serve",
    "serving",
]
