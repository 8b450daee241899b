"""WeCom's limits, counted before the wire."""

from worker.delivery.quota.counters import Fate, Quota, Reservation, person_times

__all__ = ["Fate", "Quota", "Reservation", "person_times"]
