"""The embedded service: Postgres and a broker run from pip wheels, with nothing installed on the machine.

This package is independent of jobs, models and HTTP routes: it starts programs, watches them and stops them in order.
"""
