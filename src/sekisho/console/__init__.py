"""The console: pages in Japanese and English that read and write through the same gate as everybody else."""

from sekisho.console.drawing import Drawing as Drawing
from sekisho.console.routes import routes as routes
from sekisho.console.settings import Limits as Limits
from sekisho.console.settings import Outside as Outside
from sekisho.console.settings import Parts as Parts
