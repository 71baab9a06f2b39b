"""The product's API, with the kinds of job that only tests have."""

import tests.chaos.graphs
import tests.worker.probe  # noqa: F401 - both register kinds of job
from app.server import main

if __name__ == "__main__":
    main()
