"""Bar (b), peer: FastAPI with SQLAlchemy's async session on aiosqlite, one row a POST; WAL, synchronous=FULL.

uvicorn with uvloop and httptools, no access log, a session a request as a dependency. One connection in the pool: with
more of them, writers wait in SQLite's back-off, which costs a quarter more CPU and takes p99 past a second.
python -m benchmarks.peers.fastapi_sqlalchemy
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import UUID, uuid4

import uvloop
from fastapi import Depends, FastAPI
from pydantic import BaseModel, Field
from sqlalchemy import JSON, event
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.http_load import measure_posts
from benchmarks.measuring import tell

engine = create_async_engine(
    f"sqlite+aiosqlite:///{os.environ.get('ORDERS', 'orders.db')}", pool_size=1, max_overflow=0
)
sessions = async_sessionmaker(engine, expire_on_commit=False)


@event.listens_for(engine.sync_engine, "connect")
def durable(connection, _) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


class Base(DeclarativeBase):
    pass


class OrderRow(Base):
    __tablename__ = "orders"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    customer_id: Mapped[UUID]
    store_id: Mapped[int]
    lines: Mapped[list] = mapped_column(JSON)


class Line(BaseModel):
    product_id: int
    quantity: int = Field(gt=0)


class NewOrder(BaseModel):
    customer_id: UUID
    store_id: int
    lines: list[Line] = Field(min_length=1)


class Created(BaseModel):
    id: UUID


async def session():
    async with sessions() as opened:
        yield opened


@asynccontextmanager
async def lifespan(_: FastAPI):
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.post("/orders", status_code=201)
async def place(order: NewOrder, db: Annotated[AsyncSession, Depends(session)]) -> Created:
    row = OrderRow(
        customer_id=order.customer_id, store_id=order.store_id, lines=[line.model_dump() for line in order.lines]
    )
    db.add(row)
    await db.commit()
    return Created(id=row.id)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main() -> None:
    port = free_port()
    with tempfile.TemporaryDirectory() as data:
        command = [
            sys.executable, "-m", "uvicorn", "benchmarks.peers.fastapi_sqlalchemy:app", "--port", str(port),
            "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning",
        ]  # fmt: skip
        with subprocess.Popen(command, env=os.environ | {"ORDERS": f"{data}/orders.db"}) as server:
            try:
                for _ in range(400):
                    with socket.socket() as probe:
                        if probe.connect_ex(("127.0.0.1", port)) == 0:
                            break
                    time.sleep(0.05)
                measured = uvloop.run(measure_posts(port, server.pid, "/orders"))
            finally:
                server.terminate()
    tell(measured)


if __name__ == "__main__":
    main()
