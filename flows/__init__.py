"""What each job does: one module a job type, on the foundation in `flows.core` and `flows.clients`."""
