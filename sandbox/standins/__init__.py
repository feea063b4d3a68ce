"""Stand-ins for the other teams' services: each keeps its contract on the wire and can be told to misbehave."""
