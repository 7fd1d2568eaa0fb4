"""Bar (e), peer: a projection of `eventsourcing` over its log into SQLite, each row and its position in one commit.

Its SQLite recorder has no subscriptions, so the projection is fed from the notification log, page by page.

python -m benchmarks.peers.eventsourcing_projection
"""

import sqlite3
import tempfile
from decimal import Decimal
from uuid import UUID, uuid4

from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import Tracking, TrackingRecorder
from eventsourcing.projection import Projection
from eventsourcing.sqlite import SQLiteDatastore, SQLiteTrackingRecorder

from benchmarks.measuring import Measured, Stopwatch, assert_durable, tell

EVENTS, PAGE = 5_000, 1_000
LINES = [{"product_id": product, "quantity": 2, "price": "3.50"} for product in range(4)]


class Order(Aggregate):
    class Placed(Aggregate.Created):
        customer_id: UUID
        lines: list
        total: Decimal

    class Confirmed(Aggregate.Event):
        pass

    @event(Placed)
    def __init__(self, customer_id: UUID, lines: list, total: Decimal) -> None:
        self.status = "pending"

    @event(Confirmed)
    def confirm(self) -> None:
        self.status = "confirmed"


class Orders(Application[UUID]):
    pass


class OrderRows(TrackingRecorder):
    pass


class SQLiteOrderRows(SQLiteTrackingRecorder, OrderRows):
    def __init__(self, datastore, **kwargs) -> None:
        super().__init__(datastore, **kwargs)
        self.create_table_statements.append(
            "CREATE TABLE IF NOT EXISTS order_rows "
            "(order_id TEXT PRIMARY KEY, customer_id TEXT, total TEXT, status TEXT, placed_at TEXT)"
        )

    def place(self, placed: Order.Placed, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(
                "INSERT OR REPLACE INTO order_rows VALUES (?, ?, ?, 'pending', ?)",
                (str(placed.originator_id), str(placed.customer_id), str(placed.total), placed.timestamp.isoformat()),
            )

    def confirm(self, order_id: UUID, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute("UPDATE order_rows SET status = 'confirmed' WHERE order_id = ?", (str(order_id),))


class OrdersProjection(Projection[OrderRows]):
    name = "orders"
    topics = ()

    @singledispatchmethod
    def process_event(self, domain_event, tracking: Tracking) -> None:
        pass

    @process_event.register
    def placed(self, domain_event: Order.Placed, tracking: Tracking) -> None:
        self.view.place(domain_event, tracking)

    @process_event.register
    def confirmed(self, domain_event: Order.Confirmed, tracking: Tracking) -> None:
        self.view.confirm(domain_event.originator_id, tracking)


def measure() -> Measured:
    with tempfile.TemporaryDirectory() as data:
        env = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": f"{data}/orders.db"}
        app = Orders(env=env)
        end = 0
        for _ in range(EVENTS // 200):
            batch = []
            for _ in range(100):
                order = Order(customer_id=uuid4(), lines=LINES, total=Decimal("28.00"))
                order.confirm()
                batch.append(order)
            end = app.save(*batch)[-1].notification.id
        view = SQLiteOrderRows(SQLiteDatastore(f"{data}/rows.db"))
        view.create_table()
        projection = OrdersProjection(view)
        position, watch = 0, Stopwatch()
        with watch.running():
            while position < end:
                for notification in app.recorder.select_notifications(start=position + 1, limit=PAGE):
                    projection.process_event(
                        app.mapper.to_domain_event(notification), Tracking(app.name, notification.id)
                    )
                    position = notification.id
        with sqlite3.connect(f"{data}/rows.db") as rows:
            assert rows.execute("SELECT count(*) FROM order_rows WHERE status = 'confirmed'").fetchone() == (
                EVENTS // 2,
            )
        assert_durable(f"{data}/rows.db")
        app.close()
        return watch.of(EVENTS)


if __name__ == "__main__":
    tell(measure())
