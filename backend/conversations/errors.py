"""What a client can be told went wrong with conversations."""

from backend.errors import ApiError


class ConversationNotFound(ApiError):
    """Conversation not found"""

    status = 404
    code = "conversation_not_found"
