"""Engines: what a user holds. ``base`` has the contract, ``registry`` finds them."""
