"""A request for a steering together with what it names."""

from dataclasses import dataclass

from app.auth.viewer import Viewer
from app.models.models import Model
from app.steerings.schemas import SteeringRequest
from app.traits.models import Trait


@dataclass(frozen=True)
class Asked:
    """A request for a steering, with its caller, its model, and the trait that provides its questions."""

    request: SteeringRequest
    viewer: Viewer
    model: Model
    trait: Trait
