"""The endpoints of the inventory."""

from colonnade.presentation import Api, Get, Post

from grocer.inventory.application.queries import StockOf
from grocer.inventory.application.restocking import FillShelves
from grocer.inventory.contracts import Goods

api = Api(
    Get("/stores/{store_id}/stock/{product_id}", StockOf, example=StockOf(340, 1055168)),
    Post("/stores/{store_id}/restocking", FillShelves, example=FillShelves(340, (Goods(1055168, 12),))),
)
