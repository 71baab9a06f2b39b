"""How the service is: health, metrics, the board of workers and queues, and holding a device."""
