"""Producers in the web frameworks; each needs its own extra, and none is imported unless it is used."""
