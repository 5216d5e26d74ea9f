r"""The on-disk queue. This text is the specification of its format, version 1.0; all numbers are little endian.

Directory
=========
::

    <spool>/LOCK                    flock(2), held by the owner as long as it runs; its pid inside
    <spool>/lanes/<name>/           a log for each lane; "default" is always there
    <spool>/dead-letters/           a log of its own limits; its cursor "operator" has what is done with
    <log>/<generation>-<first>-<salt>.seg
    <log>/next.tmp                  the next segment, its blocks reserved; no part of the log
    <log>/quarantine/               copies of damaged bytes, bounded

The segments are the only durable structure: no index, no ledger, no cursor file that could disagree.
``generation`` (at least 10 digits) rises with every attempt to publish a segment, ``first`` (20 digits) is
the offset of the segment's first record, ``salt`` (8 hexadecimal digits) is random. The records of a
segment end where those of the next generation begin, so the names alone tell where every offset lies: a
destroyed header costs nothing. A segment whose successor has the same ``first`` holds nothing.

Segment
=======
A header of 80 bytes, then records. Its length is set and its blocks are reserved from the beginning; what
follows the last record is zeros or whatever lay there, and is told from records by their checksums.

====== ======== ==============================================================================
offset type     header
====== ======== ==============================================================================
0      8 bytes  ``EBSPOOL\n``
8      u32      CRC-32 of bytes 12 to 79, begun with the salt
12     u16, u16 major and minor version; a later version keeps this table
16     u64      generation
24     u64      first
32     u64      published: every offset below it was durable before the segment got its name
40     u32      salt
44     u32      bit 0: the wall clock was synchronised
48     u64      wall clock at creation, nanoseconds since 1970
56     8 bytes  id of the boot
64     u64      boot clock at creation, nanoseconds
72     8 bytes  zero
====== ======== ==============================================================================

====== ======== ==============================================================================
offset type     record, at a multiple of 8, padded with zeros to one
====== ======== ==============================================================================
0      u32      CRC-32 of bytes 4 to 31, begun with the salt: stale or foreign bytes never match
4      u16      0xB5EB
6      u8       type; bit 7: whoever does not know the type skips the record
7      u8       flags
8      u64      offset
16     u32      length of the payload
20     u32      CRC-32 of the payload: damage in it takes this record only
24     u32      lag: ``offset`` less the offset below which everything was durable when this was written
28     u32      seconds since the segment was created, by the boot clock
32     bytes    payload
====== ======== ==============================================================================

* ``1`` event: one appended payload. Flags: 1 its append has marks, 2 the payload is preceded by a u32 length
  and those marks (msgpack map), 4 first of its append, 8 last of its append. The marks stand in the first
  and in the last event of an append.
* ``2`` state: ``[1, snapshot, start, {cursor: [low, [[first, stop], ...]]}, {mark: value}]`` in msgpack, what
  changed or, as a snapshot, everything. Its offset is that of the next event. ``start`` is where the log
  begins: what lies below was deleted on purpose. A cursor that no snapshot names is no more.
* ``3`` gap: a u64 count of offsets from its own on that hold nothing, which is known and needs no alarm.
* ``4`` seal: the last record of a run that ended in order; lag 0.

Every major version is refused by an older program, which then touches nothing. A minor version only adds
record types with bit 7 and fields at the end of msgpack lists of a new number.

Writing
=======
One thread writes. What waits forms a group: a state record with the cursors that moved, then the events. A
group is one write and one ``fdatasync``; only then it is readable and its appends return.

A segment is published whole: ``next.tmp`` gets its length, header, a snapshot and the first group;
``fdatasync``; ``rename``; ``fsync`` of the directory. A visible segment therefore has a good header and a
durable first group. A write or sync that fails is final for that descriptor: the group is published in a new
segment, under a new generation, whose ``first`` hides the remains. A segment found at a start is never added
to; the rest of its reserved blocks is given back.

Every lane has a thread of its own, so that one lane's syncs wait for no other's.

While a lane has no room for records, cursors are still written: into the 4096 bytes that every segment keeps
free at its end, then into segments of 64 KiB without records, of which there is never more than one.

Segments are deleted when a state record that has every cursor (or ``start``) beyond them is durable, and
none of the latest 4096 records (within 16 MiB) is in them: those tell a source what it has stored already. A
limit, ``max_age`` or a person may delete more: then the cursors are moved beyond it first, and that is durable.
Only on a disk without any space the deletion comes first; a start finds out, and counts it. The
deletion itself needs no sync: what comes back with a power cut lies below ``start``.

A start
=======
Takes the lock; sorts the names; scans the last segment. ``proven``, the highest of ``published`` and of
``offset - lag``, tells what was durable for certain: a hole below it is damage, counted when a reader meets
it; a hole above it is the torn tail of a power cut. Events above ``proven`` may exist in memory only (after a
kill, or a failed sync); they are written again, in a new segment, before anything else. Of a torn append with
marks only what still has its marks is kept, so marks are durable with their payloads or not at all. If the
snapshot at the head of the last segment is damaged, older segments give the cursors of their time.

Faults
======
Assumed: after ``fsync`` or ``fdatasync`` has returned without error, the bytes (or names) it covers stay, but
for damage in single places. Nothing else: writes not yet synced may be lost, torn at any byte, reordered, or
replaced by zeros or garbage; names not yet synced may be lost one by one; a failed sync forces nothing.
Damaged bytes cost the records they touch; they are counted, and copied to ``quarantine/``.

Known limit: a wiped end of the last segment (a disk that lies about flushing) looks like the end. A group
that was torn while a device was already acknowledged cannot be told from one that was not.
"""
