"""The service without any service on the machine: the same Postgres and broker as anywhere, run from pip wheels.

Nothing in this package knows jobs, models or HTTP routes; it starts programs, watches them and stops them in order.
"""
