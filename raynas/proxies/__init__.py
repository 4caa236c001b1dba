"""Scores of untrained networks (zero-cost proxies), and one order from several of them."""
