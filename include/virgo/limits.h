/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Every bound that more than one part of VIRGO must agree on, with its reason. */
#ifndef VIRGO_LIMITS_H
#define VIRGO_LIMITS_H

/* The cluster. */
#define VG_PARTITIONS 16384	    /* Redis Cluster's number of slots: cluster-aware clients can route themselves */
#define VG_NODES_MAX 1024	    /* a node number fits the 12 bits it has in a handle, with room to spare */
#define VG_NODE_NONE 0xffff	    /* "not a node": the source of a client's request */
#define VG_NEIGHBOURS_MAX 16384	    /* clients whose link address XDP remembers; the least recently used goes first */
#define VG_NEIGHBOUR_AGE_MS 10000   /* and for so long */
#define VG_HOPS_MAX 3		    /* a datagram is steered at most so often: a wrong table cannot make a loop */

/* Ports: the original's, in one place. */
#define VG_PORT_CPU 10000
#define VG_PORT_EVENT 20000
#define VG_PORT_MEM 30000
#define VG_PORT_FILE 50000
#define VG_PORT_QUEUE 60000
#define VG_PORT_ANALYTICS 64000
#define VG_PORT_ADMIN 9464

/* Keys and values. */
#define VG_KEY_MAX 65536	    /* bytes in a key */
#define VG_VALUE_MAX 536870912	    /* bytes in a value: Redis's proto-max-bulk-len */
#define VG_BODY_MAX (VG_VALUE_MAX + VG_KEY_MAX + 4096) /* of a binary message: a COMMAND holds a SET of the largest */
#define VG_XDP_KEY_MAX 128	    /* longer keys go to the daemon; a multiple of 8 */
#define VG_XDP_VALUE_MAX 1024	    /* longer values go to the daemon; a multiple of 64 */

/* Datagrams: header, padded key and body fit an Ethernet frame of IPv6 and UDP. */
#define VG_DATAGRAM_MAX 1432

/*
 * Changes over UDP are done once: a node remembers so many sequence numbers of each client (a power of two). A client
 * sends no request whose number is further ahead of its oldest unanswered change.
 */
#define VG_REPLAY_WINDOW 1024

/* Jobs of the CPU pool. */
#define VG_JOB_SPEC_MAX 131072	    /* all of a CLONE's body but its input: fits one message to the spawner */
#define VG_JOB_STRINGS_MAX 4096	    /* arguments, and environment entries */
#define VG_JOB_INPUT_MAX (4u << 20) /* input in a CLONE: the argument of a function */
#define VG_JOB_RESULT_MAX (4u << 20) /* of a function */
#define VG_JOB_OWNER_MAX 64	    /* bytes that name an owner */
#define VG_JOB_DATA_MAX 65536	    /* bytes of JOB_INPUT and JOB_OUTPUT */
#define VG_JOB_WINDOW_DEFAULT (256u << 10) /* output sent ahead of the client's JOB_WINDOW */
#define VG_JOB_WINDOW_MAX (1u << 20)	   /* and at most: it is kept until it was taken */
#define VG_JOB_ERROR_WINDOW (64u << 10)	   /* the same for stderr */
#define VG_JOB_INPUT_WINDOW (256u << 10)   /* input the client may send ahead of the node's JOB_WINDOW */

/* The index. */
#define VG_BUCKET_SLOTS 11
#define VG_CHAIN_XDP_MAX 3	    /* lines XDP follows in one bucket before it passes the request up */
#define VG_CHAIN_MAX 24 /* lines a bucket may have: past that keys were chosen to collide, and SET says so */

/* Cells. */
#define VG_CELL_ALIGN 8
#define VG_CELL_MAX 4096	    /* header + key + value in one arena cell; what is larger lives in the heap tier */
#define VG_SLAB_BYTES 65536	    /* a slab is carved into cells of one class */
#define VG_SLAB_CLASSES_MAX 254
#define VG_STORE_WORKERS_MAX 1024   /* threads that may use one arena */

/* XDP's share of a core, in answers a millisecond: work done in XDP is charged to no process, so it is bounded here. */
#define VG_XDP_BUDGET_DEFAULT 4000

/* The daemon's lease on the arena: past it XDP passes every request to the socket. */
#define VG_LEASE_MS 500
#define VG_LEASE_RENEW_MS 50

/* The choice of a node (virgo/policy.h). */
#define VG_POLICY_DRAWS_MAX 16	    /* candidates looked at for one choice: more gain next to nothing (virgo lb sim) */
#define VG_POLICY_DRAWS_XDP 8	    /* in XDP: what it can look at in a tenth of a microsecond */
#define VG_POLICY_HOT_PERMILLE 840  /* the quantile of requests in flight above which nodes are hot: 2^-1/4 */
#define VG_STAMP_AGE_MAX_MS 3000    /* a node not heard for so long is chosen only if all are silent */
#define VG_HEARTBEAT_MS 100	    /* a pair of nodes that has been silent for so long exchanges a datagram */
#define VG_HEARTBEAT_NODES 64	    /* in larger clusters the heart beats slower in proportion */

/* A CLONE that is asked again finds the node it was sent to for so long; clients give up before. */
#define VG_STEERED_AGE_MS 30000
#define VG_STEERED_SETS 4096 /* of four: some 500 a second for so long; what finds no place is not steered */

/* Telemetry. */
#define VG_CGROUPS_MAX 256    /* cgroups with a histogram of their own; the least recently seen goes first */
#define VG_IO_STARTS_MAX 4096 /* block requests in flight that are timed */

/* A key this close to its deadline is decided by the daemon: time in XDP lags by up to two ticks (of ≤ 10 ms). */
#define VG_EXPIRY_DOUBT_MS 24

#endif
