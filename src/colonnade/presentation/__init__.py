"""Presentation: a service's endpoints, declared once, and all that follows from them."""

from colonnade.presentation.caching import Cache
from colonnade.presentation.endpoints import Api, Get, Mount, Post
from colonnade.presentation.openapi import openapi_document

__all__ = ["Api", "Cache", "Get", "Mount", "Post", "openapi_document"]
