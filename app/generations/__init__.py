"""Generations: a few answers under a few vectors, without a judge."""
