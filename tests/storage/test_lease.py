import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from raynas.errors import RunFolderError, StorageError
from raynas.runs import lease as module
from raynas.runs.lease import Holder, Lease, holder

FAST = {"every_s": 0.05, "stale_s": 30.0}


def claims(folder):
    return [path for path, _ in folder.files()]


def wait_until(true):
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def folder(memory):
    return memory / ".lease"


def plant(folder, **facts):
    """Leave the claim of a driver on a machine that we know nothing of."""
    there = Holder("other", True, "far", 7, "far away", "1", 30.0)
    facts = {**{name: getattr(there, name) for name in Holder.__slots__}, **facts}
    lease = Lease(folder, "run")
    lease._me = Holder(**facts)
    lease._write()
    return lease


def test_one_holds_it_and_others_are_told_who(folder):
    first, second = Lease(folder, "s3://b/a", **FAST), Lease(folder, "s3://b/a", **FAST)
    assert holder(folder) is None
    first.take()
    assert holder(folder).owner == first._me.owner
    with pytest.raises(RunFolderError, match=r"s3://b/a is in use by process \d+ on .* free in \d"):
        second.take()
    assert len(claims(folder)) == 1  # who steps back leaves nothing
    first.release()
    assert holder(folder) is None
    assert claims(folder) == []
    second.take()
    second.check()
    second.release()


def test_who_waits_gets_it_when_it_is_let_go(folder, monkeypatch):
    monkeypatch.setattr(module, "_ASK_EVERY_S", 0.01)
    first, second = Lease(folder, "run", **FAST), Lease(folder, "run", **FAST)
    first.take()
    threading.Timer(0.2, first.release).start()
    second.take(wait_s=20)
    assert holder(folder).owner == second._me.owner
    second.release()


def test_of_many_at_once_one_holds_it(folder, monkeypatch):
    monkeypatch.setattr(module, "_STEP_BACK_S", (0.0, 0.02))
    monkeypatch.setattr(module, "_TRIES", 1000)
    leases = [Lease(folder, "run", **FAST) for _ in range(8)]
    begin = threading.Barrier(len(leases))
    got, refused = [], []

    def run(lease):
        begin.wait()
        try:
            lease.take()
            got.append(lease)
        except RunFolderError:
            refused.append(lease)

    threads = [threading.Thread(target=run, args=(lease,)) for lease in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 7)
    got[0].release()
    assert claims(folder) == []


def test_a_claim_without_a_sign_of_life_is_taken_over(folder, monkeypatch):
    plant(folder, stale_s=0.5)
    lease = Lease(folder, "run", **FAST)
    with pytest.raises(RunFolderError, match="in use by process 7 on far"):
        lease.take()
    real = Lease._others
    monkeypatch.setattr(
        Lease, "_others", lambda self: [(other, age_s + 2.0) for other, age_s in real(self)]
    )
    lease.take()
    assert [path.name for path in claims(folder)] == [f"{lease._me.owner}.json"]
    assert lease._me.over == ("other",)
    lease.release()


def test_a_holder_that_was_taken_over_hears_of_it(folder):
    reasons = []
    sleeper = Lease(folder, "run", **FAST, on_loss=reasons.append)
    sleeper.take()
    plant(folder, owner="new", over=(sleeper._me.owner,))
    wait_until(lambda: reasons)
    assert reasons == ["was taken over by process 7 on far"]
    with pytest.raises(RunFolderError, match="run: was taken over"):
        sleeper.check()
    sleeper.release()
    assert holder(folder).owner == "new"


def test_a_holder_whose_claim_is_gone_hears_of_it(folder):
    reasons = []
    lease = Lease(folder, "run", **FAST, on_loss=reasons.append)
    lease.take()
    claims(folder)[0].unlink()
    wait_until(lambda: reasons)
    assert reasons == ["was taken over by another driver"]
    lease.release()


def test_one_that_wakes_up_does_not_disturb_who_took_over(folder):
    lease = Lease(folder, "run", **FAST)
    lease.take()
    lease._me = replace(lease._me, over=("other",))
    plant(folder)
    wait_until(lambda: len(claims(folder)) == 1)
    assert holder(folder).owner == lease._me.owner
    lease.check()
    lease.release()


def test_a_store_that_is_away_for_a_while_costs_nothing(folder, monkeypatch):
    lease = Lease(folder, "run", every_s=0.02, stale_s=30.0)
    lease.take()
    real, tries = Lease._renew, []

    def renew(self):
        tries.append(1)
        if len(tries) < 4:
            raise StorageError("away", may_pass=True)
        return real(self)

    monkeypatch.setattr(Lease, "_renew", renew)
    wait_until(lambda: len(tries) > 5)
    lease.check()
    lease.release()


def test_a_store_that_stays_away_ends_the_lease(folder, monkeypatch):
    def renew(self):
        raise StorageError("away", may_pass=True)

    monkeypatch.setattr(Lease, "_renew", renew)
    lease = Lease(folder, "run", every_s=0.02, stale_s=0.1)
    lease.take()
    wait_until(lambda: lease.lost is not None)
    with pytest.raises(RunFolderError, match="cannot be reached"):
        lease.check()
    lease.release()


@pytest.mark.skipif(not module._machine(), reason="only Linux tells who has ended")
def test_on_its_own_machine_a_dead_holder_is_gone_at_once(folder):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    here = {"machine": module._machine(), "pid": child.pid, "started": module._started(child.pid)}
    plant(folder, **here)
    lease = Lease(folder, "run", **FAST)
    with pytest.raises(RunFolderError, match="in use"):
        lease.take()
    child.kill()
    child.wait()
    assert holder(folder) is None
    lease.take()
    lease.release()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"owner": "x"}', b"\xff"])
def test_a_claim_that_is_none_is_told(folder, content):
    (folder / "x.json").write_bytes(content)
    with pytest.raises(StorageError, match="is no claim of a driver"):
        Lease(folder, "run").take()
    assert len(claims(folder)) == 1
