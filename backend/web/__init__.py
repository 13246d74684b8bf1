"""What every noun's HTTP needs: middleware, errors as JSON, logs, retry safety, cursors, ETags."""
