"""Recorder drivers: one protocol, one file a kind."""
