"""Structured logs: a line is an event with fields, JSON for machines, readable on a terminal."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, BinaryIO, TypeVar, cast

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from colonnade.observability.correlation import current_context, current_tenant
from colonnade.world import Clock

__all__ = [
    "InvalidLogSetting",
    "LogForm",
    "LogLevel",
    "LogSettings",
    "Outlet",
    "configure_logs",
    "get_logger",
    "log_to_standard_error",
]

STANDARD_ERROR = 2

S = TypeVar("S", bound=StrEnum)


class LogLevel(StrEnum):
    """The least level of the lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogForm(StrEnum):
    """What a line looks like."""

    JSON = "json"
    TEXT = "text"


class InvalidLogSetting(ValueError):
    """A variable of the environment does not hold one of the values that it may have."""

    def __init__(self, variable: str, value: str, allowed: tuple[str, ...]) -> None:
        super().__init__(variable, value, allowed)
        self.variable, self.value, self.allowed = variable, value, allowed

    def __str__(self) -> str:
        return f"{self.variable} is {self.value!r}; set it to one of {', '.join(self.allowed)}, or not at all."


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Which lines are written, and how."""

    level: LogLevel = LogLevel.INFO
    form: LogForm = LogForm.JSON

    @classmethod
    def of(cls, environment: Mapping[str, str], *, terminal: bool) -> "LogSettings":
        """What `COLONNADE_LOG_LEVEL` and `COLONNADE_LOG_FORM` say; a terminal gets text unless they say otherwise.

        Raises `InvalidLogSetting`.
        """
        form = LogForm.TEXT if terminal else LogForm.JSON
        return cls(
            _one_of(LogLevel, environment, "COLONNADE_LOG_LEVEL", LogLevel.INFO),
            _one_of(LogForm, environment, "COLONNADE_LOG_FORM", form),
        )


def get_logger() -> FilteringBoundLogger:
    """A logger whose lines carry the correlation id, cause and trace of the work at hand."""
    return cast(FilteringBoundLogger, structlog.get_logger())


class Outlet:
    """Where lines go. When it is blocked for good (a closed pipe, a full disk) the work goes on without its log.

    The first line that gets through again says how many did not.
    """

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._put: Callable[[bytes], None] = self._write_all
        self._lost_lines = 0

    @contextmanager
    def led_to(self, put: Callable[[bytes], None]) -> Iterator[None]:
        """Give lines to `put` while the block lasts, as something else is drawn where they went."""
        self._put = put
        try:
            yield
        finally:
            self._put = self._write_all

    def write(self, line: bytes) -> int:
        """Write a line, or count it as lost."""
        try:
            if self._lost_lines:
                self._put(msgspec.json.encode({"event": "log lines lost", "count": self._lost_lines}) + b"\n")
                self._lost_lines = 0
            self._put(line)
        except (OSError, ValueError):  # ValueError: the file was closed
            self._lost_lines += 1
        return len(line)

    def flush(self) -> None:
        """Nothing is kept back."""

    def _write_all(self, line: bytes) -> None:
        # An unbuffered file may take a part, when a signal comes in between
        while (written := self._out.write(line)) < len(line):
            line = line[written:]
        self._out.flush()


def configure_logs(settings: LogSettings, clock: Clock, out: BinaryIO, *, colours: bool = False) -> Outlet:
    """Write the lines of this process to `out`, those of libraries that use `logging` included.

    Done once, by the program and never by a library; loggers that were used before keep what they had.
    """
    outlet = Outlet(out)
    level = _NUMBERS[settings.level]
    renderer = _Json(clock) if settings.form is LogForm.JSON else _Text(clock, colours=colours)
    structlog.configure(
        processors=[renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(cast(BinaryIO, outlet)),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [_Forwarding()]
    root.setLevel(max(level, logging.WARNING))
    return outlet


def log_to_standard_error(environment: Mapping[str, str], clock: Clock) -> Outlet:
    """Write the lines of this process to standard error, as `environment` says: on a terminal as text, in colours.

    Raises `InvalidLogSetting`.
    """
    terminal = os.isatty(STANDARD_ERROR)
    settings = LogSettings.of(environment, terminal=terminal)
    # Unbuffered, so that a line is written when it happens and a lost one is noticed
    out = open(STANDARD_ERROR, "wb", buffering=0, closefd=False)  # noqa: SIM115 - as long as the process lives
    return configure_logs(settings, clock, out, colours=terminal and "NO_COLOR" not in environment)


def _one_of(kind: type[S], environment: Mapping[str, str], variable: str, default: S) -> S:
    value = environment.get(variable, "").strip().lower()
    if not value:
        return default
    try:
        return kind(value)
    except ValueError:
        raise InvalidLogSetting(variable, environment[variable], tuple(member.value for member in kind)) from None


_NUMBERS = {
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARNING: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
}


def _complete(clock: Clock, level: str, fields: EventDict) -> EventDict:
    """The line's fields in the order in which people read them, with what the work at hand brings."""
    line: EventDict = {
        "time": clock.now(),
        "level": "error" if level == "exception" else level,
        "event": fields.pop("event"),
    }
    context = current_context.get(None)
    tenant = context.tenant if context is not None else current_tenant.get()
    if tenant is not None:
        line["tenant"] = tenant
    if context is not None:
        line["correlation_id"] = context.correlation_id
        if context.causation_id is not None:
            line["causation_id"] = context.causation_id
        if context.traceparent is not None:
            line["trace_id"] = context.traceparent[3:35]
    line.update(fields)
    return line


class _Json:
    """One JSON object a line; what JSON does not know is written as it would be printed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._encode = msgspec.json.Encoder(enc_hook=str).encode

    def __call__(self, logger: WrappedLogger, level: str, fields: EventDict) -> bytes:
        line = _complete(self._clock, level, fields)
        if "exc_info" in line:
            line = structlog.processors.format_exc_info(logger, level, line)
        try:
            return self._encode(line)
        except (TypeError, ValueError, RecursionError) as error:
            # A field that cannot be encoded must not take the event down with it, nor the work that reports it
            return self._encode({**{name: repr(value) for name, value in line.items()}, "unencodable": str(error)})


class _Text:
    """One line for people: what happened first, what it belongs to last.

    structlog's own renderer for terminals takes 116 microseconds a line, a third of what a whole request may.
    """

    def __init__(self, clock: Clock, *, colours: bool) -> None:
        self._clock = clock
        self._faint, self._plain = (_FAINT, _PLAIN) if colours else ("", "")
        self._levels = {
            level: f"{colour if colours else ''}{level:<8}{self._plain}" for level, colour in _COLOURS.items()
        }

    def __call__(self, logger: WrappedLogger, level: str, fields: EventDict) -> bytes:
        line = _complete(self._clock, level, fields)
        if "exc_info" in line:
            line = structlog.processors.format_exc_info(logger, level, line)
        exception = line.pop("exception", None)
        moment = line.pop("time").strftime("%H:%M:%S.%f")[:-3]
        title = f"{self._levels.get(line['level'], line['level'])}{_title(line['event']):<24}"
        del line["level"], line["event"]
        about = [f"{name}={_printable(value)}" for name, value in line.items() if name not in _BELONGINGS]
        belongings = [f"{name}={line[name]}" for name in _BELONGINGS if name in line]
        text = f"{self._faint}{moment}{self._plain} {title} {' '.join(about)}"
        if belongings:
            text += f" {self._faint}{' '.join(belongings)}{self._plain}"
        if exception:
            text += f"\n{exception}"
        return text.encode(errors="backslashreplace")


_FAINT, _PLAIN = "\x1b[2m", "\x1b[0m"
_COLOURS = {
    "debug": "\x1b[34m",
    "info": "\x1b[32m",
    "warning": "\x1b[33m",
    "error": "\x1b[31m",
    "critical": "\x1b[31;1m",
}
_BELONGINGS = ("correlation_id", "causation_id", "trace_id")


def _title(event: object) -> str:
    text = str(event)
    return text if text.isprintable() else repr(text)


def _printable(value: object) -> str:
    """`value` on one line; quoted where it has spaces, or characters that would steer the terminal."""
    text = str(value)
    return text if text.isprintable() and " " not in text and text else repr(text)


class _Forwarding(logging.Handler):
    """Lines of libraries that use `logging`."""

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = {"logger": record.name}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        get_logger().log(record.levelno, record.getMessage(), **fields)
