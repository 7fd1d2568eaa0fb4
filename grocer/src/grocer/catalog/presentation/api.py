"""The endpoints of the catalog."""

from colonnade.presentation import Api, Cache, Get

from grocer.catalog.application.queries import ProductById, SearchProducts

_PAGES = Cache(seconds=60, public=True, stale_seconds=300)

api = Api(
    Get("/products", SearchProducts, cache=_PAGES, example=SearchProducts(search="milk", limit=5)),
    Get("/products/{product_id}", ProductById, cache=_PAGES, example=ProductById(1055168)),
)
