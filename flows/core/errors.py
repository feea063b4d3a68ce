"""Every error this project raises on purpose.

    SchedulerError
    ├── TransientError          worth another try
    │   ├── NotSent             the neighbour never got the request
    │   ├── AnswerLost          sent, and no answer came: the work may be done or not
    │   ├── RateLimited         the neighbour named a time to come back
    │   ├── OutOfTurns          who calls us has changed too much in too short a time
    │   └── Unavailable         the neighbour, or the database, says it cannot answer now
    ├── PermanentError          another try would end the same way
    │   ├── NotFound
    │   ├── Conflict
    │   ├── Refused             the request itself is wrong (other 4xx)
    │   ├── EndpointAbsent      the address is wrong: a mistake of configuration
    │   └── NeighbourFailed     500, or a 2xx whose body says it failed
    └── LeaseLost               this process may not act for its job any more

Messages name the service and the reason; they never carry a request body, a header or an address of a person.
"""

from __future__ import annotations


class SchedulerError(Exception):
    """Root of the tree above."""


class TransientError(SchedulerError):
    """Worth another try."""


class NotSent(TransientError):
    """The neighbour never got the request: the connection was refused or could not be made."""


class AnswerLost(TransientError):
    """The request was sent and no answer came: what was asked may be done, or not."""


class RateLimited(TransientError):
    """The neighbour asks to be left alone for `retry_after_seconds`."""

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class OutOfTurns(TransientError):
    """Whoever asks has no turn left for `seconds`; nothing was changed."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no turn is left for {seconds:.1f} s")
        self.seconds = seconds


class Unavailable(TransientError):
    """The neighbour or the database answers that it cannot answer now; `service` names it.

    `may_be_done` tells a gateway that lost the answer (502, 504) from a service that took nothing on (503).
    """

    def __init__(self, message: str, service: str, *, may_be_done: bool = False) -> None:
        super().__init__(message)
        self.service = service
        self.may_be_done = may_be_done


class PermanentError(SchedulerError):
    """Another try would end the same way."""


class NotFound(PermanentError):
    """What was asked for does not exist."""


class Conflict(PermanentError):
    """What was asked for contradicts what is."""


class Refused(PermanentError):
    """The neighbour calls the request wrong: for what is in it (400, 422), or altogether (other 4xx)."""

    def __init__(self, message: str, *, for_its_content: bool = False) -> None:
        super().__init__(message)
        self.for_its_content = for_its_content


class EndpointAbsent(PermanentError):
    """The service has no such endpoint: its address in the settings is wrong."""


class NeighbourFailed(PermanentError):
    """The neighbour tried and failed."""


class LeaseLost(SchedulerError):
    """The job has ended or belongs to another run: nothing more may be claimed, sent or recorded."""
