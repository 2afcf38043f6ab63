"""Logs of requests and answers: who writes them, where to, and what sends them again."""
