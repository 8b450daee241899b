"""The command `wecom`, also reachable as `celery wecom`."""
