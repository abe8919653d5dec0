"""Prediction for other programs and people: a server, and a web page."""
