"""Recorders, media, storage, evidence."""
