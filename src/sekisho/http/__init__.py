"""The HTTP edge: routes, decoding, problems, OpenAPI. `build` makes the application, `serve` runs it."""

from sekisho.http.edge import Authenticate, Edge, Limits, build, problem
from sekisho.http.route import Route
from sekisho.http.routes import ROUTES
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
