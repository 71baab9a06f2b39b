"""The workers' Celery application with the kinds that only tests have, and with the faults that only a process can do to itself."""

from tests.worker.celery_app import app

app.conf.imports = (*app.conf.imports, "tests.chaos.graphs", "tests.chaos.injected")
