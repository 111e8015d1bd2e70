"""What the routes work with, made once for an application."""

from dataclasses import dataclass

from starlette.requests import Request

from service.catalog import Catalog
from service.dispatch import Dispatcher
from service.live_models import LiveModels
from service.model_control import ModelControl
from service.observation.metrics import Metrics
from service.observation.usage import Counts
from service.process.membership import Membership
from service.settings import Settings
from service.statistics import Statistics


@dataclass(frozen=True)
class Parts:
    """The settings, the models and what changes them, what brings work to them, the place among the
    workers, and what is counted.
    """

    settings: Settings
    models: LiveModels
    model_control: ModelControl
    dispatcher: Dispatcher
    membership: Membership
    metrics: Metrics
    usage: Counts
    statistics: Statistics

    @property
    def catalog(self) -> Catalog:
        """What is served at this moment. A request takes it once: the next one may be another."""
        return self.models.catalog


def parts_of(request: Request) -> Parts:
    """The parts of the application that a request came to."""
    parts = request.app.state.parts
    assert isinstance(parts, Parts)
    return parts
