"""The parts of the GPU card, most important first: the checks and measurements that `python -m tests.gpu.card` runs and writes to card.md."""

from dataclasses import dataclass

_HERE = "tests.gpu.card"


@dataclass(frozen=True)
class Part:
    """`target` is `module:function`. `seconds`: the time that it should take on a GPU; it is not started when less of the run's time is left.
    `limit`: seconds after which it is killed. `first`: if it fails, no other part is run."""

    name: str
    about: str
    target: str
    seconds: float
    limit: float
    first: bool = False


PARTS = (
    Part("machine", "the device, and how fast it copies and multiplies", f"{_HERE}.machine:run", 15, 90, first=True),
    Part("steered", "right: a steered row equals the row alone", f"{_HERE}.steered:run", 60, 120),
    Part("memory", "right: memory runs out", f"{_HERE}.memory:run", 15, 90),
    Part("calibration", "right: a calibration's bytes and digits", f"{_HERE}.calibration:run", 15, 90),
    Part("capture", "right: captured rows and likelihoods", f"{_HERE}.capture:run", 10, 90),
    Part("fast-4b", "fast: the 4B shape in bfloat16", f"{_HERE}.fast:run_4b", 100, 180),
    Part("fast-1.5b", "fast: the 1.5B shape in bfloat16", f"{_HERE}.fast:run_1_5b", 60, 120),
    Part("costs", "what calibration, extraction, the judge and the probe cost", f"{_HERE}.costs:run", 110, 180),
    Part("room", "the largest batch and context at the 4B shape", f"{_HERE}.room:run", 160, 240),
    Part("service", "the service's own tests on a GPU", f"{_HERE}.service:run", 10, 180),
)
