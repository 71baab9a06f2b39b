"""Paths where trait-interp looks for a calibration, shared by the command line, the service and the workers (docs/science.md, 3.6)."""

import re

FOLDER = r"^\w[\w.-]*$"
"""Pattern of the name of one folder: never a path, `..` or a hidden folder."""


def calibration_path(experiment: str, variant: str) -> str:
    """Returns the path of calibration.json, relative to the folder that contains `experiments`. Raises ValueError for invalid folder names."""
    for name in (experiment, variant):
        if re.fullmatch(FOLDER, name) is None:
            raise ValueError(
                f"{name!r} cannot name a folder: use letters, digits, `_`, `-` and `.`, and do not begin with `.` or `-`."
            )
    return f"experiments/{experiment}/inference/{variant}/massive_activations/calibration.json"
