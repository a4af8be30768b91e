"""Which locks were waited for: whatever is asked, the answer is one that a browser can read."""

import json
from contextlib import closing

import pytest

from prong.harness.inspector.episodes import episodes
from prong.harness.inspector.feed import connect
from prong.state import Invalid


def test_a_log_without_an_event_and_times_that_are_none(store):
    store.rows("select 1")
    with closing(connect(store.path)) as connection:
        assert episodes(connection, {})["rows"] == []
        with store.transaction(None) as tx:
            tx.event("lock.acquired", object="index", waited_s=1.5)
        assert json.loads(json.dumps(episodes(connection, {"t0": "0"}), allow_nan=False))["rows"][0]["waited_s"] == 1.5
        for given in ({"t0": "nan"}, {"t1": "inf"}, {"t0": "1e400"}, {"t1": "soon"}):
            with pytest.raises(Invalid):
                episodes(connection, given)
