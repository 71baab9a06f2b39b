"""The Celery application of the workers, which also loads the job kinds of probe.py in parent and child."""

from workers.celery_app import app

app.conf.imports = (*app.conf.imports, "tests.worker.probe")
