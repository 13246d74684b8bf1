"""What a client can be told went wrong with calendars."""

from backend.errors import ApiError


class CalendarNotFound(ApiError):
    """Calendar not found"""

    status = 404
    code = "calendar_not_found"


class CalendarLimitReached(ApiError):
    """You have as many calendars as you may have; delete one first"""

    status = 409
    code = "calendar_limit_reached"
