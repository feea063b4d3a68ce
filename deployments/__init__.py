"""Where and when jobs run: `python -m deployments check | apply`. Reaches job files by entrypoint string only."""
