"""What has changed since a client last asked."""
