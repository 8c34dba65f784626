"""The HTTP edge: routes, decoding, problems, OpenAPI, and the doors that are no commands.

`build` makes the application, `serve` runs it; `answer` is how every value is spelled in JSON.
"""

from sekisho.http.agents import AgentDoor
from sekisho.http.device import DeviceDoor
from sekisho.http.edge import Authenticate, Edge, Limits, build, problem
from sekisho.http.objects import ObjectDoor
from sekisho.http.route import Route
from sekisho.http.routes import ROUTES
from sekisho.http.serve import Listen, Listener, serve, serving
from sekisho.http.spelling import answer

__all__ = [
    "ROUTES",
    "AgentDoor",
    "Authenticate",
    "DeviceDoor",
    "Edge",
    "Limits",
    "Listen",
    "Listener",
    "ObjectDoor",
    "Route",
    "answer",
    "build",
    "problem",
    "serve",
    "serving",
]
