"""Tests of the assistant, with a model that stands in for one."""
