"""The endpoints of the catalog."""

from colonnade.presentation import Api, Get

from grocer.catalog.application.queries import ProductById, SearchProducts

api = Api(
    Get("/products", SearchProducts, example=SearchProducts(search="milk", limit=5)),
    Get("/products/{product_id}", ProductById, example=ProductById(1055168)),
)
