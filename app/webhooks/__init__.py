"""Telling other services that a job is over: targets an administrator named, an outbox, and what sends it."""
