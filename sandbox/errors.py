"""What the sandbox says when it cannot go on."""


class SandboxError(Exception):
    """One sentence for the person at the terminal; the CLI prints it without a traceback."""
