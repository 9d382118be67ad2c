"""Adapters' modules whose import goes wrong, each in one way."""
