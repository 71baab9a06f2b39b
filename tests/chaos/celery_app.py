"""The workers' Celery application with the probe kind, and with the faults that only a process can do to itself."""

from tests.worker.celery_app import app

app.conf.imports = (*app.conf.imports, "tests.chaos.injected")
