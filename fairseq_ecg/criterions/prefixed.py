"""Metrics under names with a prefix, whatever logs them."""
