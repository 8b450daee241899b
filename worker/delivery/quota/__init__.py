"""WeCom's limits, counted before the wire."""

from worker.delivery.quota.counters import Apps, Fate, Quota, Reservation, person_times

__all__ = ["Apps", "Fate", "Quota", "Reservation", "person_times"]
