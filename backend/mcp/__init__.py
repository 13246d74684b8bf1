"""The tools for agents of others, by the Model Context Protocol. Loaded only where MCP_ENABLED says so."""
