"""Agents of others: what they are let do, and by which token."""
