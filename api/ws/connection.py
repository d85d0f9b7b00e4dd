"""One client of `/stream`: reads its messages one after the other, acts on each, and owns what is kept for it.

CANCEL_ON_DISCONNECT cancels at once when the connection goes while this process lives, for whatever reason, a shutdown included. Should the
process itself be killed, the switch that it has set in the database fires: this gateway moves it on for as long as it lives.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final
from uuid import uuid4

import structlog

from api import auth, throttling
from api.auth import Caller
from api.errors import BadInput, ExchangeError, Forbidden, RateLimited, Unauthenticated
from api.rest.parsing import flag, missing
from api.threads import run_in_thread
from api.ws import channels, login, protocol
from api.ws.channels import Channel
from api.ws.entry import Answers, OrderEntry
from api.ws.hub import Hub
from api.ws.outgoing import Outgoing
from api.ws.protocol import Incoming, Junk, acknowledged, encoded, now_text
from orders import snapshots
from orders.requests import CancelAll, SetSwitch
from orders.switch import DISCONNECT

log = structlog.get_logger(__name__)

MOST_JUNK: Final = 20  # in a row; one more closes
HEARTBEAT_S: Final = 15.0
LIMITED_PAUSE_S: Final = 0.005  # who ignores the limit is read more slowly
SWITCH_MS: Final = 20_000  # longer than a database takes to come back, so that nobody is cancelled for that

CLOSE_JUNK: Final = 1008
CLOSE_AUTH: Final = 4401


class Connection:
    """`address`: where it comes from. Used from the event loop alone."""

    def __init__(self, hub: Hub, outgoing: Outgoing, answers: Answers, *, address: str) -> None:
        self.id = uuid4().hex[:16]
        self.outgoing = outgoing
        self.caller: Caller | None = None
        self.heartbeat_at = time.monotonic() + HEARTBEAT_S
        self._hub = hub
        self._address = address
        self._entry = OrderEntry(outgoing, answers)
        self._account: tuple[int, str] | None = None
        self._channels: dict[str, Channel] = {}
        self.disconnect_switch: SetSwitch | None = None
        self._junk = 0
        self._count = 0
        self._acts: dict[str, Callable[[Incoming, str], Awaitable[None]]] = {
            "AUTH": self._auth,
            "SUBSCRIBE": self._subscribe,
            "UNSUBSCRIBE": self._unsubscribe,
            "RESYNC": self._resync,
            "PING": self._ping,
            "PLACE_ORDER": self._place,
            "CANCEL_ORDER": self._cancel,
            "AMEND_ORDER": self._amend,
            "CANCEL_ON_DISCONNECT": self._cancel_on_disconnect,
        }

    async def take(self, raw: str | bytes) -> None:
        """Act on one message. Whatever is wrong with it is told to the client; raises nothing."""
        self._count += 1
        request_id = f"{self.id}-{self._count}"
        ident: protocol.Id = None
        try:
            self._count_request()
            message = protocol.read(raw)
            self._junk = 0
            ident = message.id
            protocol.check(message)
            await self._acts[message.kind](message, request_id)
        except Junk as error:
            self._junk += 1
            self._refuse(error, error.id, request_id)
            if self._junk > MOST_JUNK:
                self.outgoing.close(CLOSE_JUNK, "too much that is no message")
        except Exception as error:
            if isinstance(error, RateLimited):
                ident = ident or _id_in(raw)
                await asyncio.sleep(LIMITED_PAUSE_S)
            self._refuse(error, ident, request_id)

    async def room(self) -> None:
        """Returns when the client may be read again: its answers are taken, and not too many of its orders are under way."""
        await self.outgoing.room()
        await self._entry.room()

    def gone(self) -> "Coroutine[Any, Any, None] | None":
        """The connection has ended: leave every channel. What is returned cancels the account's orders, where that was asked."""
        for channel in self._channels.values():
            self._hub.leave(channel, self.outgoing)
        self._channels.clear()
        switch = self.disconnect_switch
        if switch is None:
            return None
        return self._entry.leave(CancelAll(switch.principal, switch.account_ids, reason=DISCONNECT, request_id=self.id), switch)

    def beat(self, now: float) -> None:
        """A HEARTBEAT when one is due, unless the client does not even take what is there."""
        if now >= self.heartbeat_at:
            self.heartbeat_at = max(self.heartbeat_at + HEARTBEAT_S, now)
            if not self.outgoing.waiting:
                told = {name: self._hub.position(channel, self.outgoing) for name, channel in self._channels.items()}
                self.outgoing.put(encoded("HEARTBEAT", timestamp=now_text(), data=told))

    async def recheck(self) -> None:
        """Cut off who may not be here any more. Raises what the database raises."""
        if self.caller is None:
            return
        now = await login.still(self.caller, address=self._address)
        if now is None:
            self.caller = None
            self._refuse(Unauthenticated("This log-in was revoked."), None, self.id)
            self.outgoing.close(CLOSE_AUTH, "revoked")
            return
        self.caller = now
        if auth.READ not in now.rights:
            for name in [name for name in self._channels if name in channels.PRIVATE]:
                self._hub.leave(self._channels.pop(name), self.outgoing)

    def _refuse(self, error: BaseException, ident: protocol.Id, request_id: str) -> None:
        self.outgoing.put(protocol.refusal(ident, error, request_id=request_id))

    def _count_request(self) -> None:
        """Raises: RateLimited."""
        caller = self.caller
        if caller is None:
            throttling.take("connection", self.id)
        elif not caller.principal.unlimited:
            throttling.take("user" if caller.key_id is None else "key", caller.identity)

    def _caller(self) -> Caller:
        if self.caller is None:
            raise Unauthenticated("Send AUTH first.")
        return self.caller

    # -- who it is

    async def _auth(self, message: Incoming, request_id: str) -> None:
        try:
            caller = await login.identify(message.fields, address=self._address)
            if self.caller is not None and self.caller.principal.actor != caller.principal.actor:
                raise Forbidden("This connection belongs to another log-in. Open one of its own.")
        except ExchangeError as error:
            if login.is_wrong(error):
                self._refuse(_counted(error, self._address), message.id, request_id)
                self.outgoing.close(CLOSE_AUTH, "wrong AUTH")
                return
            raise
        account = await self._named_account(caller, message.fields.get("account"))
        self.caller, self._account = caller, account
        told = {"account": account and account[1], "rights": sorted(caller.rights)}
        self.outgoing.put(acknowledged(message.id, told))

    async def _named_account(self, caller: Caller, name: object) -> tuple[int, str] | None:
        """The account this connection stands for from now on: the one named, or the one it had. Raises: BadInput, NotHere."""
        if name is None and self._account is not None:
            return self._account
        found = await login.account_of(caller, name)
        has_private = self.disconnect_switch is not None or any(held in channels.PRIVATE for held in self._channels)
        if self._account is not None and found != self._account and has_private:
            raise BadInput("This connection stands for another account. Open one of its own.", field="account")
        return found

    def _own_account(self) -> int:
        if self._account is None:
            raise BadInput("Name the account: this log-in is not bound to one.", field="account")
        return self._account[0]

    # -- channels

    async def _subscribe(self, message: Incoming, request_id: str) -> None:
        names = channels.names_of(message.fields.get("channels"))
        private = [name for name in names if name in channels.PRIVATE]
        if private:
            caller = self._caller()
            auth.require(caller, auth.READ)
            self._account = await self._named_account(caller, message.fields.get("account"))
            account_id = self._own_account()
            found = [channels.private(name, institution_id=caller.principal.institution_id, account_id=account_id) for name in private]
        else:
            if "account" in message.fields:
                raise BadInput("account goes with user channels alone.", code="CONFLICTING_FIELDS", field="account")
            found = []
        found += await channels.public([name for name in names if name not in channels.PRIVATE])
        self.outgoing.put(acknowledged(message.id, names))
        for channel in found:
            self._channels[channel.name] = channel
            self._hub.follow(channel, self.outgoing)

    async def _unsubscribe(self, message: Incoming, request_id: str) -> None:
        names = channels.names_of(message.fields.get("channels"))
        for name in names:
            channel = self._channels.pop(name, None)
            if channel is not None:
                self._hub.leave(channel, self.outgoing)
        self.outgoing.put(acknowledged(message.id, names))

    async def _resync(self, message: Incoming, request_id: str) -> None:
        fields = message.fields
        if "channel" not in fields:
            if "last_sequence" in fields:
                raise missing("channel", ": last_sequence is one of a channel")
            await self._resync_account(message)
            return
        name = channels.name_of(fields["channel"], field="channel")
        last = fields.get("last_sequence")
        if last is not None and (type(last) is not int or last < 0):
            raise BadInput("last_sequence must be a whole number.", field="last_sequence")
        channel = self._channels.get(name)
        if channel is None:
            raise BadInput("Subscribe to this channel first.", field="channel")
        self.outgoing.put(acknowledged(message.id, [name]))
        self._hub.resync(channel, self.outgoing, last)

    async def _resync_account(self, message: Incoming) -> None:
        caller = self._caller()
        auth.require(caller, auth.READ)
        institution_id, account_id = caller.principal.institution_id, self._own_account()
        sequences, data = await run_in_thread(snapshots.user, institution_id=institution_id, account_id=account_id)
        self.outgoing.put(acknowledged(message.id, ["user"]))
        self.outgoing.put(protocol.snapshot("user", None, data, sequences=sequences))

    async def _ping(self, message: Incoming, request_id: str) -> None:
        self.outgoing.put(encoded("PONG", id=message.id, timestamp=now_text()))

    # -- orders

    async def _place(self, message: Incoming, request_id: str) -> None:
        await self._entry.place(self._caller(), protocol.data_of(message), message.id, request_id=request_id)

    async def _cancel(self, message: Incoming, request_id: str) -> None:
        await self._entry.cancel(self._caller(), protocol.data_of(message), message.id, request_id=request_id)

    async def _amend(self, message: Incoming, request_id: str) -> None:
        await self._entry.amend(self._caller(), protocol.data_of(message), message.id, request_id=request_id)

    async def _cancel_on_disconnect(self, message: Incoming, request_id: str) -> None:
        caller = self._caller()
        auth.require(caller, auth.TRADE)
        if "enabled" not in message.fields:
            raise missing("enabled")
        enabled = flag("enabled", message.fields["enabled"])
        if enabled or self.disconnect_switch is not None:
            timeout_ms = SWITCH_MS if enabled else 0
            switch = SetSwitch(caller.principal, (self._own_account(),), timeout_ms, f"stream:{self.id}", DISCONNECT)
            await self._entry.set_switch(switch)
            self.disconnect_switch = switch if enabled else None
        self.outgoing.put(acknowledged(message.id, {"enabled": message.fields["enabled"]}))


def _counted(error: ExchangeError, address: str) -> ExchangeError:
    """A failed log-in counts for the address it came from, as over REST."""
    try:
        throttling.take("address", address)
    except RateLimited as limited:
        return limited
    return error


def _id_in(raw: str | bytes) -> protocol.Id:
    """The id of a message that was not looked at otherwise."""
    try:
        return protocol.read(raw).id
    except Junk as error:
        return error.id
