"""E-mail over SMTP, or into a folder."""

import asyncio
import os
import smtplib
from dataclasses import dataclass
from email.message import Message
from email.mime.text import MIMEText
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from colonnade.application import Clock
from colonnade.persistence import DataDirectory

from grocer.notifications.application.ports import Mail, Mailer

__all__ = ["FolderMailer", "SmtpMailer", "mailer"]

URL_VARIABLE = "GROCER_SMTP_URL"
"""Like smtp://user:password@host:587; without it mail is written to a folder of the data directory."""

SENDER = "orders@grocer.example"
TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class SmtpMailer:
    """Speaks to an SMTP server, with STARTTLS where the server offers it (RFC 5321, RFC 3207)."""

    server: SplitResult
    clock: Clock

    async def send(self, mail: Mail) -> None:
        """Hand `mail` to the server."""
        await asyncio.to_thread(self._send, _message(mail, self.clock))

    def _send(self, message: Message) -> None:
        host, port = self.server.hostname or "localhost", self.server.port or 25
        with smtplib.SMTP(host, port, timeout=TIMEOUT_SECONDS) as smtp:
            smtp.ehlo()
            if smtp.has_extn("starttls"):
                smtp.starttls()
            if self.server.username:
                smtp.login(self.server.username, self.server.password or "")
            smtp.send_message(message)


@dataclass(frozen=True)
class FolderMailer:
    """Writes each mail to a file that is named after it."""

    folder: Path
    clock: Clock

    async def send(self, mail: Mail) -> None:
        """Write `mail`; a second time overwrites the first."""
        written = self.folder / f"{mail.id}.eml.part"
        written.write_bytes(_message(mail, self.clock).as_bytes())
        written.replace(self.folder / f"{mail.id}.eml")


def _message(mail: Mail, clock: Clock) -> MIMEText:
    # All parts are ASCII and short; EmailMessage, which folds and encodes anything, costs ten times as much
    message = MIMEText(f"{mail.text}\n", "plain", "us-ascii")
    message["From"] = SENDER
    message["To"] = f"customer-{mail.customer_id.int}@customers.grocer.example"
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(clock.now())
    message["Message-ID"] = f"<{mail.id}@grocer.example>"
    return message


def mailer(data: DataDirectory, clock: Clock) -> Mailer:
    """SMTP when it is configured, else a folder."""
    if url := os.environ.get(URL_VARIABLE):
        return SmtpMailer(urlsplit(url), clock)
    folder = data.path / "mail"
    folder.mkdir(exist_ok=True)
    return FolderMailer(folder, clock)
