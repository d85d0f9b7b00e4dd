class StackError(Exception):
    """The stack cannot start or go on; the message says why and what to do, in plain words."""


class StopRequested(Exception):
    """SIGINT, SIGTERM or SIGHUP arrived."""
