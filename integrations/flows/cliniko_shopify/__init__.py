"""Cliniko and Shopify: what flows between them, a module for each kind."""
