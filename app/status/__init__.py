"""Health, metrics, the status board of workers and queues, and the routes of devices."""
