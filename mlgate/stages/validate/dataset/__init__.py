"""Rows in files: find them, read them, and see them as one table."""
