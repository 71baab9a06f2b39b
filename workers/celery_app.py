"""The Celery application of a worker node: its configuration, and a check of the settings. Imports neither torch nor the HTTP application.

One node per device, one spawned child, early acknowledgement, no prefetching, no results: a bell (a notification about ready jobs) is not needed
again after it was received, because the job rows decide everything else. SIGTERM is not remapped: spawned children would then ignore it.
"""

import sys

from celery import signals

from app.collector import still

with still(keep=True):
    from app.bell import celery_app
    from app.observability import configure_logging
    from app.settings import get_settings
    from app.storage.checking import opened
    from binnacle.errors import BinnacleError

signals.setup_logging.connect(lambda **_: configure_logging(), weak=False)  # otherwise Celery sets up its own log format
configure_logging()
try:
    app = celery_app(get_settings())
    opened(get_settings().storage_url.get_secret_value())  # an invalid address ends the node here; makes a file store's folders
except BinnacleError as fault:
    sys.exit(f"error: {fault}")
app.conf.update(
    include=["workers.doorbell"],
    imports=["workers.parent"],
    worker_pool="prefork",
    worker_pool_start_method="spawn",
    worker_concurrency=1,
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    worker_proc_alive_timeout=60,
    worker_max_tasks_per_child=None,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    worker_enable_remote_control=True,
    worker_send_task_events=False,
    task_acks_late=False,
    task_reject_on_worker_lost=False,
    task_retry_on_worker_lost=False,
    task_store_errors_even_if_ignored=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_pool_acquire_timeout=2,
)
