"""Tests of conversations and their messages."""
