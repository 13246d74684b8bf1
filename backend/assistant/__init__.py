"""The assistant: a model uses the tools, in turns of conversations. Only agent.py knows its library."""
