"""What a disk may hold after the power failed, from what a process did to it (recorder.c) and which syncs had returned.

A sync of a file makes the writes to it durable that had returned before the sync was called; a sync of a directory does so
with the creations, renames and removals in it. Of everything else any part may be there: of changes each one or not, of a
write each sector or not.
"""

import os
import pathlib
import shutil

SECTOR = 512


class File:
    def __init__(self, content=b""):
        self.durable, self.pending, self.changes, self.settled = bytearray(content), [], 0, 0

    @staticmethod
    def apply(content, change):
        kind, at, data = change
        if kind == "write":
            if len(content) < at:
                content.extend(bytes(at - len(content)))
            content[at : at + len(data)] = data
        elif kind == "extend":
            content.extend(bytes(max(0, at - len(content))))
        else:
            del content[at:]
            content.extend(bytes(at - len(content)))

    def after_loss(self, rng):
        """The content with a random part of what no sync covers, and how many changes were lost whole or in part."""
        content, lost = bytearray(self.durable), 0
        keep = rng.choice([0, 0.2, 0.5, 0.8, 1])
        for kind, at, data in self.pending:
            if kind != "write":
                if rng.random() < keep:
                    self.apply(content, (kind, at, data))
                else:
                    lost += 1
                continue
            whole, start = True, at
            while start < at + len(data):
                end = min((start // SECTOR + 1) * SECTOR, at + len(data))
                if rng.random() < keep:
                    self.apply(content, ("write", start, data[start - at : end - at]))
                else:
                    whole = False
                start = end
            lost += not whole
        return content, lost


class Directory:
    def __init__(self):
        self.durable, self.live, self.pending, self.changes, self.settled = {}, {}, [], 0, 0

    @staticmethod
    def apply(entries, change):
        kind, name, thing = change
        if kind == "remove":
            if entries.get(name) is thing:
                del entries[name]
            return
        # A rename leaves no second name behind, whatever was lost of those before it.
        for other in [n for n, t in entries.items() if t is thing]:
            del entries[other]
        entries[name] = thing

    def after_loss(self, rng):
        entries, lost = dict(self.durable), 0
        keep = rng.choice([0, 0.5, 1])
        for change in self.pending:
            if rng.random() < keep:
                self.apply(entries, change)
            else:
                lost += 1
        return entries, lost


class Disk:
    """The files under one directory, as they are durable and as the process sees them."""

    def __init__(self, directory):
        """What is there now counts as durable."""
        self.directory, self.inodes, self.syncs = pathlib.Path(directory), {}, {}
        self.root = self.load(self.directory)

    def load(self, path):
        if path.is_dir():
            thing = Directory()
            thing.durable = {entry.name: self.load(entry) for entry in sorted(path.iterdir())}
            thing.live = dict(thing.durable)
        else:
            thing = File(path.read_bytes())
        self.inodes[path.stat().st_ino] = thing
        return thing

    def parent(self, path):
        *folders, name = path.split("/")
        thing = self.root
        for folder in folders:
            thing = thing.live[folder]
        return thing, name

    @staticmethod
    def change(thing, change):
        thing.pending.append(change)
        thing.changes += 1

    def play(self, records):
        """Follows what the recorder wrote. A record that the kill cut off did not happen."""
        at, count = 0, 0
        while (end := records.find(b"\n", at)) >= 0:
            kind, _, rest = records[at:end].decode().partition(" ")
            at = end + 1
            if kind == "write":
                inode, position, length = map(int, rest.split())
                if at + length > len(records):
                    break
                self.change(self.inodes[inode], ("write", position, records[at : at + length]))
                at += length
            elif kind in ("truncate", "extend"):
                inode, length = map(int, rest.split())
                self.change(self.inodes[inode], (kind, length, b""))
            elif kind == "new":
                inode, what, path = rest.split(" ", 2)
                parent, name = self.parent(path)
                thing = self.inodes[int(inode)] = parent.live[name] = Directory() if what == "d" else File()
                self.change(parent, ("set", name, thing))
            elif kind == "rename":
                length, paths = rest.split(" ", 1)
                (parent, old), (to, new) = self.parent(paths[: int(length)]), self.parent(paths[int(length) + 1 :])
                assert parent is to, f"a rename from one directory to another: {paths}"
                thing = parent.live[new] = parent.live.pop(old)
                self.change(parent, ("set", new, thing))
            elif kind == "remove":
                parent, name = self.parent(rest)
                self.change(parent, ("remove", name, parent.live.pop(name)))
            elif kind == "sync":
                sync, inode = map(int, rest.split())
                thing = self.inodes[inode]
                self.syncs[sync] = thing, thing.changes
            else:
                assert kind == "synced", kind
                thing, upto = self.syncs.pop(int(rest))
                for change in thing.pending[: max(0, upto - thing.settled)]:
                    thing.apply(thing.durable, change)
                    thing.settled += 1
                del thing.pending[: len(thing.pending) - (thing.changes - thing.settled)]
            count += 1
        return count

    def lose_power(self, rng):
        """Writes to the directory what is left, and returns the number of changes that were lost."""
        shutil.rmtree(self.directory)
        return self.write(self.root, self.directory, rng)

    def write(self, thing, path, rng):
        if isinstance(thing, File):
            content, lost = thing.after_loss(rng)
            path.write_bytes(content)
            return lost
        os.mkdir(path)
        entries, lost = thing.after_loss(rng)
        return lost + sum(self.write(entry, path / name, rng) for name, entry in sorted(entries.items()))
