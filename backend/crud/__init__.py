"""Every statement the service sends. The session comes first, the owner second, and both always."""
