"""Dashboards, written by build.py."""
