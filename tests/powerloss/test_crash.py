"""The model of power loss itself: what it keeps and what it may lose."""

import random
import shutil

from crash import Disk

TREE = {"old": b"o" * 1024}


def lost(tmp_path, records, seeds=100):
    """All outcomes of these records, over a disk that holds `old`, as sets of (name, content)."""
    outcomes = set()
    for seed in range(seeds):
        directory = tmp_path / "disk"
        directory.mkdir()
        for name, content in TREE.items():
            (directory / name).write_bytes(content)
        inodes = {"ROOT": directory.stat().st_ino, "OLD": (directory / "old").stat().st_ino, "NEW": 1}
        text = records
        for name, inode in inodes.items():
            text = text.replace(name.encode(), str(inode).encode())
        disk = Disk(directory)
        disk.play(text)
        disk.lose_power(random.Random(seed))
        outcomes.add(frozenset((p.name, p.read_bytes()) for p in directory.iterdir()))
        shutil.rmtree(directory)
    return outcomes


def test_what_a_sync_covers_stays(tmp_path):
    records = b"write OLD 0 3\nabcsync 1 OLD\nsynced 1\nnew NEW f n\nsync 2 ROOT\nsynced 2\n"
    assert lost(tmp_path, records) == {frozenset({("old", b"abc" + b"o" * 1021), ("n", b"")})}


def test_a_sync_covers_nothing_that_came_after_its_call_and_nothing_before_it_returned(tmp_path):
    whole = frozenset({("old", b"abc" + b"o" * 1021)})
    before = frozenset({("old", b"o" * 1024)})
    assert lost(tmp_path, b"sync 1 OLD\nwrite OLD 0 3\nabcsynced 1\n") == {whole, before}
    assert lost(tmp_path, b"write OLD 0 3\nabcsync 1 OLD\n") == {whole, before}


def test_a_write_tears_at_sectors(tmp_path):
    outcomes = {dict(o)["old"] for o in lost(tmp_path, b"write OLD 256 512\n" + b"x" * 512)}
    parts = [(a, b) for a in (b"o", b"x") for b in (b"o", b"x")]
    assert outcomes == {b"o" * 256 + a * 256 + b * 256 + b"o" * 256 for a, b in parts}


def test_a_new_file_without_a_sync_of_its_directory_can_go_with_its_synced_content(tmp_path):
    records = b"new NEW f n\nwrite NEW 0 1\nxsync 1 NEW\nsynced 1\n"
    old = ("old", b"o" * 1024)
    assert lost(tmp_path, records) == {frozenset({old}), frozenset({old, ("n", b"x")})}


def test_a_rename_happens_whole_or_not(tmp_path):
    records = b"new NEW f t\nsync 1 ROOT\nsynced 1\nrename 1 t old\n"
    old = ("old", b"o" * 1024)
    assert lost(tmp_path, records) == {frozenset({old, ("t", b"")}), frozenset({("old", b"")})}


def test_a_record_that_the_kill_cut_off_did_not_happen(tmp_path):
    assert lost(tmp_path, b"write OLD 0 9\nabc", seeds=20) == {frozenset({("old", b"o" * 1024)})}
