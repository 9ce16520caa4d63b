"""Preparation of recordings for training."""
