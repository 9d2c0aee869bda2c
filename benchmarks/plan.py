"""What the harness asks a load client to do. All times are microseconds of `stamp.now_us`."""

from dataclasses import dataclass

BUCKET_US = 250_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`streams` lanes, opened over `ramp_us`, each reading one answer after the other.

    A lane stops after `rounds` answers, or with 0 at the first that ends after `stop_us`; at
    `deadline_us` everything still open is cut. With `urls`, lanes read those instead of asking.
    `timed` False leaves each token's stamp unread, which is cheaper.
    """

    port: int
    dialect: str
    path: str = ""
    streams: int
    begin_us: int
    ramp_us: int = 0
    window: tuple[int, int]
    stop_us: int
    deadline_us: int
    rounds: int = 0
    urls: tuple[str, ...] = ()
    timed: bool = True
    text: str = ""
