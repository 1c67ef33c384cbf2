"""Metrics of a reconstruction: functions on arrays, without configuration."""
