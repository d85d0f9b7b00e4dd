"""Watches processes: starts them, replaces what dies, stops everything in order. One thread, no framework."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from exchange_platform.stack.errors import StackError, StopRequested
from exchange_platform.stack.processes import ProcessSpec, adopt_orphans, kill_session, spawn, tail

BACK_OFF_S = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
STEADY_AFTER_S = 5.0  # a process that lived this long had started well; its next death is replaced at once again
TICK_S = 0.05
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Child:
    """One supervised process and its successors."""

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        self.process: subprocess.Popen[bytes] | None = None
        self.last_pid = 0
        self.deaths = 0  # in a row
        self.start_at = 0.0  # monotonic; when the next attempt is due
        self._started_at = 0.0

    @property
    def running(self) -> bool:
        return self.process is not None

    def start(self) -> None:
        self.process = spawn(self.spec)
        self.last_pid = self.process.pid
        self._started_at = time.monotonic()

    def note_death(self) -> int:
        """Forgets the dead process, schedules its successor, returns the exit status (negative: the signal)."""
        assert self.process is not None
        status = self.process.returncode
        kill_session(self.process.pid)
        now = time.monotonic()
        if now - self._started_at >= STEADY_AFTER_S:
            self.deaths = 0
        self.start_at = now + BACK_OFF_S[min(self.deaths, len(BACK_OFF_S) - 1)]
        self.deaths += 1
        self.process = None
        return status

    def is_ready(self) -> bool:
        return self.running and (self.spec.ready is None or self.spec.ready())


class Supervisor:
    """`changed` is called with name → pid after every replacement; `tell` takes lines for the person at the terminal."""

    def __init__(self, *, changed: Callable[[dict[str, int]], None], tell: Callable[[str], None]) -> None:
        self._children: dict[str, Child] = {}
        self._changed = changed
        self._tell = tell
        self._stop_signals = 0
        self._once: subprocess.Popen[bytes] | None = None

    def take_signals(self) -> None:
        adopt_orphans()
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_stop_signal)

    def _on_stop_signal(self, number: int, frame: object) -> None:
        self._stop_signals += 1

    @property
    def processes(self) -> dict[str, int]:
        return {name: child.last_pid for name, child in self._children.items()}

    # Starting

    def start(self, spec: ProcessSpec, *, ready_within_s: float = 0.0) -> None:
        """Starts it, and with a time limit waits until it is ready. Raises StackError when it is not."""
        child = Child(spec)
        self._children[spec.name] = child
        child.start()
        if ready_within_s:
            self.wait_until(child.is_ready, within_s=ready_within_s, what=spec.name, watched=[child])

    def wait_until(self, condition: Callable[[], bool], *, within_s: float, what: str, watched: list[Child] | None = None) -> None:
        """Keeps the processes going until the condition holds. Raises StopRequested; StackError after the time limit, or when
        one of them (or of `watched`) keeps dying."""
        deadline = time.monotonic() + within_s
        while not condition():
            self.tick()
            for child in watched or list(self._children.values()):
                if child.deaths >= 4:
                    raise StackError(f"{child.spec.name} keeps ending; see {child.spec.log}\n{tail(child.spec.log)}")
            if time.monotonic() > deadline:
                logs = {child.spec.log for child in watched or []}
                raise StackError(f"{what} was not ready within {within_s:.0f} s\n" + "\n".join(f"{log}:\n{tail(log)}" for log in logs))
            time.sleep(TICK_S)

    def run_once(self, spec: ProcessSpec) -> None:
        """Runs a command to its end. Raises StackError with the end of its log when it fails."""
        self._once = spawn(spec)
        try:
            while self._once.poll() is None:
                self.tick()
                time.sleep(TICK_S)
            if self._once.returncode:
                raise StackError(f"{spec.name} failed (status {self._once.returncode}); see {spec.log}\n{tail(spec.log, 30)}")
        finally:
            if self._once.poll() is None:
                kill_session(self._once.pid)
                self._once.wait()
            self._once = None

    # Watching

    def run(self) -> None:
        """Watches until a stop signal arrives."""
        try:
            while True:
                self.tick()
                time.sleep(TICK_S)
        except StopRequested:
            return

    def tick(self) -> None:
        if self._stop_signals:
            raise StopRequested
        replaced = False
        for child in self._children.values():
            if child.process is not None and child.process.poll() is not None:
                status = child.note_death()
                self._tell(f"{child.spec.name} ended ({_words(status)}); it is started again")
            if child.process is None and time.monotonic() >= child.start_at and self._has_what_it_needs(child):
                child.start()
                replaced = True
        self._reap_orphans()
        if replaced:
            self._changed(self.processes)

    def _has_what_it_needs(self, child: Child) -> bool:
        return all(self._children[name].is_ready() for name in child.spec.needs if name in self._children)

    def _reap_orphans(self) -> None:
        """Buries grandchildren that were left to this process; our own children are reaped through their Popen."""
        ours = {child.process.pid for child in self._children.values() if child.process is not None}
        if self._once is not None:
            ours.add(self._once.pid)
        while True:
            try:
                dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if dead is None or dead.si_pid in ours:
                return  # ours: the next tick takes it
            os.waitpid(dead.si_pid, 0)

    # Stopping

    def stop_all(self) -> None:
        """Stops stage by stage, lowest first; what does not end within its time limit is killed. A second stop signal while
        this runs cuts the waiting short."""
        patience = self._stop_signals + 1
        for stage in sorted({child.spec.stage for child in self._children.values()}):
            members = [c for c in self._children.values() if c.spec.stage == stage and c.process is not None]
            for child in members:
                _signal(child, child.spec.stop_signal)
            deadline = time.monotonic() + max((c.spec.stop_within_s for c in members), default=0.0)
            while time.monotonic() < deadline and self._stop_signals <= patience and any(_alive(c) for c in members):
                time.sleep(0.02)
            for child in members:
                if _alive(child):
                    self._tell(f"{child.spec.name} did not end in time and is killed; see {child.spec.log}")
                    self._end_by_force(child)
                kill_session(child.last_pid)
        self._bury_all()
        self._children.clear()

    def _end_by_force(self, child: Child) -> None:
        assert child.process is not None
        if child.spec.death_signal != signal.SIGKILL:
            _signal(child, child.spec.death_signal)
            try:
                child.process.wait(timeout=6)
                return
            except subprocess.TimeoutExpired:
                pass
        _signal(child, signal.SIGKILL)
        child.process.wait()

    def _bury_all(self) -> None:
        """Waits for adopted grandchildren; whatever is left after two seconds is killed."""
        deadline = time.monotonic() + 2.0
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                if time.monotonic() > deadline:
                    for left in _children_of_this_process():
                        kill_session(left)
                        try:
                            os.kill(left, signal.SIGKILL)
                        except ProcessLookupError:
                            pass
                    deadline = time.monotonic() + 2.0
                time.sleep(0.02)


def _children_of_this_process() -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    except OSError:
        return []


def _alive(child: Child) -> bool:
    return child.process is not None and child.process.poll() is None


def _signal(child: Child, number: signal.Signals) -> None:
    if child.process is not None:
        child.process.send_signal(number)


def _words(status: int) -> str:
    if status >= 0:
        return f"status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
