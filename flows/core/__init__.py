"""What every job stands on: words, errors, settings, the lease and the `@job` wrapper."""
