"""Dates, times, calendars."""
