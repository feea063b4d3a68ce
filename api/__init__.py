"""The shim: translates the dashboard's HTTP calls into rows of `scheduled_jobs` and runs of Prefect."""
