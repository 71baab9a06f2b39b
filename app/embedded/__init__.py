"""The embedded service: Postgres and a broker run from pip wheels, with nothing installed on the machine.

Nothing in this package knows jobs, models or HTTP routes; it starts programs, watches them and stops them in order.
"""
