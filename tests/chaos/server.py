"""The API of the product, which also knows the kinds of job that only tests have."""

import tests.chaos.graphs
import tests.worker.probe  # noqa: F401
from app.server import main

if __name__ == "__main__":
    main()
