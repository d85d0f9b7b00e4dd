"""The doors: REST (and later WebSocket and gRPC) share authentication, errors, limits and versions.

Owns: parsing, authentication, status codes, the OpenAPI document.
Never: rules about money or orders; a view parses, makes one call, translates.
"""
