"""Thin Flask UI, REST API and command line."""
