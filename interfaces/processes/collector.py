"""When Python's collector looks at what a process has loaded: once, while that is new."""

import gc

_NEVER = 1_000_000


def collect_new_objects_only() -> None:
    """For a process that loads: what survives stays, and is not walked again.

    A thousand objects are still in the processor's caches: to walk all of them at the end takes
    five times as long, an eighth of the start, and finds little more.
    """
    gc.set_threshold(1_000, _NEVER, _NEVER)


def settle_collector() -> None:
    """What is loaded now stays: the collector need not walk it again at every few tokens.

    It stops all streams while it walks what is new, half a microsecond an object and more: seldom
    and long costs as much as often and short, and shows in the tokens' lag.
    """
    gc.collect(0)
    gc.freeze()
    gc.set_threshold(5_000, 200, 100)
