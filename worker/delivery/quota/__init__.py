"""WeCom's limits, counted before the wire."""

from worker.delivery.quota.counters import Apps, Fate, Quota, Reservation

__all__ = ["Apps", "Fate", "Quota", "Reservation"]
