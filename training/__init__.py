"""Learns discrete latent codes with a VAE and exports them to a model repository.

Imports torch; never fastapi or `service`.
"""
