"""The main job of this project on real servers, in about a minute: `wecom demo`."""

from worker.demo.performance import perform
from worker.demo.stage import StageError

__all__ = ["StageError", "perform"]
