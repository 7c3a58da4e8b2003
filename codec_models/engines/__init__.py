"""Runtimes for the trained networks: one small interface (`engine.py`), one file a runtime."""
