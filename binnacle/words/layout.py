"""Where trait-interp looks for a calibration. For the command line, the service and the workers alike (docs/science.md, 3.6)."""

import re

FOLDER = r"^\w[\w.-]*$"
"""The name of one folder: never a path, `..` or a hidden folder."""


def calibration_path(experiment: str, variant: str) -> str:
    """The path of calibration.json, relative to the folder that holds `experiments`. Raises ValueError for what names no folder."""
    for name in (experiment, variant):
        if re.fullmatch(FOLDER, name) is None:
            raise ValueError(
                f"{name!r} cannot name a folder: use letters, digits, `_`, `-` and `.`, and do not begin with `.` or `-`."
            )
    return f"experiments/{experiment}/inference/{variant}/massive_activations/calibration.json"
