"""The operating system inside the environment: variables, clock, permissions, schedules, logs, settings."""
