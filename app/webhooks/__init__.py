"""Webhooks: notify other services when a job ends. Webhooks that administrators add, an outbox, and its sender."""
