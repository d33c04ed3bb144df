"""Profiles of a dataset, and how far one is from another."""
