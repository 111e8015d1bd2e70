"""The contract between training and serving: manifests, the model repository, the layout of codes, the noise.

Imports numpy and pydantic, and nothing of `training`, `service` or their libraries.
"""
