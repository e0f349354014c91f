"""Reads a request from whatever people paste: a reader for each form. Standard library and the core only."""
