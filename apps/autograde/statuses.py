"""The statuses of a grade."""

STATUSES = ("ok", "kept", "missing", "error", "timeout", "memory", "invalid", "absent")
