"""The outside systems a job speaks to, each behind functions that take and return plain data."""
