"""What a client can be told of the server itself."""

from backend.errors import Unavailable


class Stopping(Unavailable):
    """This copy of the service is about to stop; send requests to another"""

    code = "stopping"
