/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Why a packet left a BPF program the way it did. One list: the per-CPU counters, the agent's table, the metrics and
 * the documentation are all made from it. Numbers are the index into vg_counters and are part of the map layout:
 * append, never reorder.
 *
 * X(name, verdict, text)   verdict: what the program returned (PASS, TX, DROP, OK for tc)
 */
#ifndef VIRGO_REASONS_H
#define VIRGO_REASONS_H

#define VG_REASONS(X)                                                                                                  \
	X(NOT_IP, PASS, "not IPv4 or IPv6")                                                                            \
	X(NOT_VIRGO, PASS, "not UDP to this node's VIRGO port")                                                        \
	X(FRAGMENT, PASS, "IP fragment")                                                                               \
	X(IP_OPTIONS, PASS, "IP options or extension headers")                                                         \
	X(IP_CHECKSUM, PASS, "wrong IPv4 header checksum")                                                             \
	X(TRUNCATED, PASS, "lengths that lie, or too short")                                                           \
	X(VLAN_STACK, PASS, "more than two VLAN tags")                                                                 \
	X(BAD_MAGIC, PASS, "not VIRGO binary")                                                                         \
	X(BAD_VERSION, PASS, "VIRGO binary of another version")                                                        \
	X(BAD_HEADER, PASS, "a header field out of range, or a reserved one not zero")                                 \
	X(IS_REPLY, PASS, "a reply, for a socket of this node")                                                        \
	X(NO_LEASE, PASS, "no daemon holds the arena")                                                                 \
	X(NO_ARENA, PASS, "the arena has another layout")                                                              \
	X(BUDGET, PASS, "XDP's share of this core is used up")                                                         \
	X(BAD_TAG, PASS, "missing or wrong tag under a cluster key")                                                   \
	X(BAD_PARTITION, PASS, "a partition that does not exist, or that no node owns")                                \
	X(STALE_EPOCH, PASS, "routed with another cluster epoch")                                                      \
	X(NOT_A_READ, PASS, "an operation that only the daemon does")                                                  \
	X(KEY_TOO_LONG, PASS, "a key longer than XDP compares")                                                        \
	X(BEING_WRITTEN, PASS, "a writer was in the bucket")                                                           \
	X(CHAIN, PASS, "more lines in the bucket than XDP follows")                                                    \
	X(IN_HEAP, PASS, "the value is in the heap tier")                                                              \
	X(NO_ROOM, PASS, "the answer does not fit the request")                                                        \
	X(NEAR_EXPIRY, PASS, "too close to the deadline for the coarse clock")                                         \
	X(HASH_MISMATCH, PASS, "key not found under a hash or partition that is not its own")                          \
	X(HANDLE_RANGE, PASS, "a handle or range the table cannot hold")                                               \
	X(PING, TX, "answered a ping")                                                                                 \
	X(HIT, TX, "answered a GET by key")                                                                            \
	X(NOT_FOUND, TX, "answered: no such key")                                                                      \
	X(EXPIRED, TX, "answered: the key has expired")                                                                \
	X(HANDLE_HIT, TX, "answered a GET by handle")                                                                  \
	X(HANDLE_GONE, TX, "answered: the handle is gone")                                                             \
	X(STEERED, TX, "sent on to the node that owns it")                                                             \
	X(STEERED_OUT, REDIRECT, "sent on through another interface")                                                  \
	X(STEER_HOPS, PASS, "steered too often")                                                                       \
	X(STEER_NO_ROUTE, PASS, "the owner's link address is not known")                                               \
	X(STEER_FAMILY, PASS, "the owner has no address of the request's family")                                      \
	X(EGRESS_STAMPED, OK, "load stamped into a departing datagram")                                                \
	X(EGRESS_OTHER, OK, "a departing packet that is not VIRGO's")                                                  \
	X(EGRESS_NO_LEASE, OK, "departed unstamped: no daemon")                                                        \
	X(PEER_PASS, PASS, "a veth peer's pass-through program")                                                       \
	X(NO_NEIGHBOUR, PASS, "steered here, and the client's link address is not known yet")                          \
	X(TOO_LONG, PASS, "a datagram or value longer than XDP handles")                                   \
	X(JOB_HERE, PASS, "a job for this node: the best one, or it was sent here")                                    \
	X(JOB_NO_PLACE, PASS, "a job kept here: too many of late to remember where they went")                         \
	X(MULTI_GET, TX, "answered a GET of several keys")                                                             \
	X(NOT_MEMCACHE, PASS, "to memcached's port, and not a get of one key in its frame")                            \
	X(MEMCACHE_HIT, TX, "answered memcached's get with a value")                                                   \
	X(MEMCACHE_MISS, TX, "answered memcached's get: no such key")

enum vg_reason {
#define X(name, verdict, text) VG_REASON_##name,
	VG_REASONS(X)
#undef X
	VG_REASON_MAX
};

#endif
