"""Quotas: limits on each user's jobs, device time and storage, and their use."""
