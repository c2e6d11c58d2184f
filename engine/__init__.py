"""Executes process definitions; knows nothing of footage or Flask."""
