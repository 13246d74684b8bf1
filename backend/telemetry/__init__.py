"""What the service tells whoever runs it: metrics, traces, Server-Timing. Loaded where one of them is on."""
