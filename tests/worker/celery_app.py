"""The workers' Celery application, with the probe kind known to parent and child."""

from workers.celery_app import app

app.conf.imports = (*app.conf.imports, "tests.worker.probe")
