"""Deciding where and together with what a model runs."""
