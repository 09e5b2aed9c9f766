/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The pinned maps: the contract between the BPF programs, the agent and the daemon. docs/maps.md says who writes what.
 *
 * Pins live under <pin root>/v<VG_LAYOUT_VERSION>/. libbpf adopts a pinned map whose sizes match even if its fields
 * moved, so every change of a layout below raises the version, which is part of the path.
 */
#ifndef VIRGO_MAPS_H
#define VIRGO_MAPS_H

#include "types.h"
#include "figures.h"
#include "limits.h"
#include "reasons.h"
#include "wire.h"

#define VG_LAYOUT_VERSION 2
#define VG_PIN_ROOT_DEFAULT "/sys/fs/bpf/virgo"

/* Map names: the kernel keeps 15 characters. BPF declares and user space opens by the same token. */
#define VG_MAP_ARENA vg_arena	      /* ARENA: struct vg_arena_header and what it describes */
#define VG_MAP_CONFIG vg_config	      /* ARRAY[1], mmapable: struct vg_config; written by the daemon */
#define VG_MAP_LOCAL vg_local	      /* ARRAY[1], mmapable: struct vg_local; written by the daemon, often */
#define VG_MAP_PARTITION vg_partition  /* ARRAY[VG_PARTITIONS], mmapable: struct vg_partition_owner */
#define VG_MAP_NODE vg_node	      /* ARRAY[VG_NODES_MAX], mmapable: struct vg_node; written by the daemon */
#define VG_MAP_COUNTER vg_counter     /* PERCPU_ARRAY[VG_REASON_MAX]: struct vg_counter; written by BPF */
#define VG_MAP_NEIGHBOUR                                                                                               \
	vg_neighbour /* LRU_HASH[VG_NEIGHBOURS_MAX]: struct vg_ip_address → struct vg_neighbour; by BPF */
#define VG_MAP_BUDGET vg_budget	      /* PERCPU_ARRAY[1]: struct vg_budget; written by BPF */
#define VG_MAP_SCRATCH vg_scratch     /* PERCPU_ARRAY[1]: struct vg_scratch; written by BPF, read by nobody else */
#define VG_MAP_NODE_LOAD vg_node_load /* ARRAY[VG_NODES_MAX], mmapable: struct vg_node_load; by XDP and the daemon */
#define VG_MAP_STEERED vg_steered     /* ARRAY[VG_STEERED_SETS]: struct vg_steered; by XDP */
#define VG_MAP_POOL vg_pool	      /* ARRAY[1], mmapable: struct vg_pool; written by the daemon */
#define VG_MAP_CPU_FIGURES vg_cpu_figures /* ARRAY[1], mmapable: struct vg_cpu_figures; written by the daemon */
#define VG_MAP_FILE_FIGURES vg_file_figures /* ARRAY[1], mmapable: struct vg_file_figures; written by the daemon */
#define VG_MAP_HOST vg_host	      /* ARRAY[1], mmapable: struct vg_host; written by the agent */
#define VG_MAP_CPU_LOAD vg_cpu_load   /* PERCPU_ARRAY[1]: struct vg_cpu_load; by the scheduler's probe */
#define VG_MAP_CGROUP_LOAD vg_cgroup_load /* LRU_HASH[VG_CGROUPS_MAX]: cgroup id → struct vg_cgroup_load; by it */
#define VG_MAP_IO_LOAD vg_io_load     /* PERCPU_ARRAY[VG_IO_MAX]: struct vg_io_load; by the block layer's probes */
#define VG_MAP_IO_START vg_io_start   /* LRU_HASH[VG_IO_STARTS_MAX]: request → when it was issued; by them */

#define VG_STRINGIFY_(x) #x
#define VG_MAP_NAME(token) VG_STRINGIFY_(token)

/* ---- the arena ------------------------------------------------------------------------------------------------ */

/*
 * Every process maps the arena at this address; its low 32 bits are zero, so an offset into the arena is also what
 * BPF uses as an arena pointer. The map is as large as an arena can be; pages exist once the daemon has touched them.
 */
#define VG_ARENA_ADDRESS 0x551000000000ULL
#define VG_ARENA_PAGES (1u << 20)
#define VG_ARENA_MAGIC 0x4f475249564e5241ULL /* "ARNVIRGO" */

/*
 * First bytes of the arena. Geometry is written once, before `magic`; `index_control` moves while the table grows.
 *
 * The index is a linear-hashing table (W. Litwin, "Linear hashing: a new tool for file and table addressing", 1980):
 * with level L and split s, a hash h lives in bucket b = h & (2^L - 1), or, if b < s, in h & (2^(L+1) - 1). Growing
 * splits one bucket at a time, so nothing ever pauses. A reader that did not find its key reads index_control again:
 * if it moved, the search is void.
 */
struct vg_arena_header {
	__u64 magic;
	__u32 layout_version;
	__u32 size_pages;	  /* pages in use, from the start */
	__u64 index_control;	  /* level << 32 | split */
	__u32 index_offset;	  /* of bucket 0: of slab 0, as the index grows into the slabs from below */
	__u32 index_buckets_max;  /* if it took them all */
	__u32 handles_offset;	  /* of handle slot 0 */
	__u32 handles_max;
	__u32 slabs_offset;	  /* of the first slab; VG_SLAB_BYTES aligned */
	__u32 slabs_max;
	__u64 instance;		  /* drawn at random when the arena was formatted */
	__u32 marks_offset;	  /* of __u32[VG_STORE_WORKERS_MAX]: the item each worker is changing in place, or 0 */
	__u32 reserved;
};
VG_ASSERT_SIZE(struct vg_arena_header, 64);
VG_ASSERT_OFFSET(struct vg_arena_header, index_control, 16);
VG_ASSERT_OFFSET(struct vg_arena_header, slabs_offset, 40);

VG_INLINE __u32 vg_index_bucket(__u64 control, __u64 hash)
{
	__u32 mask = (1u << (control >> 32 & 31)) - 1;
	__u32 bucket = (__u32)hash & mask;

	return bucket < (__u32)control ? ((__u32)hash & (mask << 1 | 1)) : bucket;
}

/* A slot's tag: hash bits the bucket number does not use; never 0, which means the slot is empty. */
VG_INLINE __u8 vg_index_tag(__u64 hash)
{
	__u8 tag = (__u8)(hash >> 56);

	return tag ? tag : 1;
}

/*
 * One line of the index. The first line of a bucket holds its sequence: writers make it odd with a compare-and-swap
 * (it is their lock), change the bucket, its further lines and its items, and make it even; readers read it before
 * and after and believe nothing if it was odd or moved. In further lines the sequence is unused. Slot i is in use when
 * tag[i] is not 0; then cell[i] is the arena offset of a struct vg_item and, in its lowest bits, what is known of the
 * item's use. Readers set those bits too, at any time, by compare-and-swap of the word.
 */
struct vg_bucket {
	__u32 sequence;
	__u32 next;			/* arena offset of the bucket's next line, 0: none */
	__u8 tag[VG_BUCKET_SLOTS];
	__u8 reserved;
	__u32 cell[VG_BUCKET_SLOTS];
} __attribute__((aligned(64)));
VG_ASSERT_SIZE(struct vg_bucket, 64);
VG_ASSERT_OFFSET(struct vg_bucket, tag, 8);
VG_ASSERT_OFFSET(struct vg_bucket, cell, 20);

#define VG_CELL_FREQUENCY 0x3u /* uses, up to 3; eviction takes them down again */
#define VG_CELL_USED 0x4u      /* used since its access_clock was written */
#define VG_CELL_OFFSET (~7u)

/* The word after one more use: the same if there is nothing more to note. */
VG_INLINE __u32 vg_cell_touched(__u32 cell)
{
	return ((cell & VG_CELL_FREQUENCY) == VG_CELL_FREQUENCY ? cell : cell + 1) | VG_CELL_USED;
}

/* Where the item's bytes are, and which extensions it has. */
#define VG_ITEM_HEAP 0x01 /* the value (and, with HEAP_KEY, the key) is in the heap tier: the daemon's business */
#define VG_ITEM_HEAP_KEY 0x02
#define VG_ITEM_DEADLINE 0x04 /* behind the header: Unix milliseconds, 64 bits; 0: never */
#define VG_ITEM_META 0x08     /* then: struct vg_item_meta */
#define VG_ITEM_MAIN 0x10     /* of the eviction queues it is in the main one */

/*
 * An item: header, extensions, key zero-padded to 8 bytes, value zero-padded to 8 bytes. In the heap tier
 * (VG_ITEM_HEAP) the value's place is taken by the daemon's own reference, which knows the length too.
 */
struct vg_item {
	__u16 value_length; /* of an inline value */
	__u16 key_length;   /* of an inline key */
	__u8 flags;	    /* VG_ITEM_* */
	__u8 slab_class;
	__u16 access_clock; /* last use, Unix seconds / 16, unless VG_CELL_USED says: since */
};
VG_ASSERT_SIZE(struct vg_item, 8);
VG_ASSERT_OFFSET(struct vg_item, access_clock, 6);

/* What memcached's clients keep with a value. */
struct vg_item_meta {
	__u64 version; /* of this value, 0: nobody has asked for one yet */
	__u32 client_flags;
	__u32 marks; /* the memory service's own: is the value stale, who fetches it anew */
};
VG_ASSERT_SIZE(struct vg_item_meta, 16);

/* Each flag, shifted, is the size of its extension. */
VG_INLINE __u32 vg_item_meta_offset(__u32 flags)
{
	return (__u32)sizeof(struct vg_item) + ((flags & VG_ITEM_DEADLINE) << 1);
}

VG_INLINE __u32 vg_item_key_offset(__u32 flags)
{
	return vg_item_meta_offset(flags) + ((flags & VG_ITEM_META) << 1);
}

VG_INLINE __u32 vg_item_value_offset(__u32 flags, __u32 key_length)
{
	return vg_item_key_offset(flags) + VG_ALIGN_UP(key_length, 8u);
}

/*
 * A handle: node << 52 | generation << 28 | slot. Slots are never used for anything else, so a made-up or old handle
 * is an answer ("gone"), not a crash. Same sequence rule as a bucket. An allocation up to VG_CELL_MAX lives in a cell
 * of the arena (its bytes start at `cell`); a larger or spread one has cell 0 and is the daemon's business.
 */
#define VG_HANDLE_SLOT_BITS 28
#define VG_HANDLE_GENERATION_BITS 24

struct vg_handle_slot {
	__u32 sequence;
	__u32 generation; /* of the living allocation; 24 bits, never 0 */
	__u32 cell;	  /* arena offset, or 0: in the heap tier or spread over nodes */
	__u32 length;	  /* bytes of the allocation; 0: the slot is free */
	__u64 place;	  /* the daemon's: heap reference, or link of the free list */
	__u32 flags;
	__u32 reserved;
};
VG_ASSERT_SIZE(struct vg_handle_slot, 32);

VG_INLINE __u64 vg_handle_make(__u32 node, __u32 generation, __u32 slot)
{
	return (__u64)node << (VG_HANDLE_SLOT_BITS + VG_HANDLE_GENERATION_BITS) |
	       (__u64)generation << VG_HANDLE_SLOT_BITS | slot;
}

VG_INLINE __u32 vg_handle_node(__u64 handle)
{
	return (__u32)(handle >> (VG_HANDLE_SLOT_BITS + VG_HANDLE_GENERATION_BITS));
}

VG_INLINE __u32 vg_handle_generation(__u64 handle)
{
	return (__u32)(handle >> VG_HANDLE_SLOT_BITS) & ((1u << VG_HANDLE_GENERATION_BITS) - 1);
}

VG_INLINE __u32 vg_handle_slot_index(__u64 handle)
{
	return (__u32)handle & ((1u << VG_HANDLE_SLOT_BITS) - 1);
}

/* ---- what the daemon tells the programs ------------------------------------------------------------------------ */

#define VG_CONFIG_PORT_CPU 0 /* place of the CPU pool's in ports_other */
#define VG_CONFIG_KEYED 0x1  /* a cluster key is set: tags are checked */

/* Cluster facts; the daemon writes them before it takes the lease. Key 0 of vg_config. */
struct vg_config {
	__u16 node;		 /* this node's number */
	__u16 nodes;		 /* how many there are */
	__u32 epoch;
	__u32 flags;		 /* VG_CONFIG_* */
	__u32 budget_per_ms;	 /* answers a CPU may give a millisecond; 0: VG_XDP_BUDGET_DEFAULT */
	__be16 port_mem;	 /* UDP port of the memory pool, 0: off */
	__be16 ports_other[7];	 /* UDP ports of the other services, 0-filled: VG_CONFIG_PORT_* */
	__u64 cluster_key[2];	 /* SipHash key, with VG_CONFIG_KEYED */
	__u32 policy;		 /* enum vg_policy: which node a CLONE goes to that names none */
	__be16 port_memcache;	 /* UDP port of memcached's face that XDP may answer, 0: none (decision 0054) */
	__u16 reserved;
	__u32 reserved2[2];
};
VG_ASSERT_SIZE(struct vg_config, 64);
VG_ASSERT_OFFSET(struct vg_config, port_mem, 16);
VG_ASSERT_OFFSET(struct vg_config, cluster_key, 32);
VG_ASSERT_OFFSET(struct vg_config, port_memcache, 52);

/*
 * Services that have a load of their own, as places in tables; messages to and from a service's port carry its stamp.
 */
#define VG_LOAD_MEM 0
#define VG_LOAD_CPU 1
#define VG_LOADS_MAX 4

struct vg_service_now {
	__u32 in_flight;
	__u32 service_ns;
};

/* What moves while the daemon runs. Key 0 of vg_local; fields are written one by one, each atomically. */
struct vg_local {
	__u64 lease_until_ns;	 /* CLOCK_MONOTONIC; past it the arena is nobody's and XDP passes every request */
	__u64 unix_offset_ns;	 /* CLOCK_REALTIME - CLOCK_MONOTONIC: makes deadlines comparable in XDP */
	__u32 in_flight;	 /* the load stamp, host byte order; these two are the memory pool's */
	__u32 service_ns;
	__u32 run_queue_delay_ns;
	__u16 memory_free_permille;
	__u16 reserved;
	struct vg_service_now other[VG_LOADS_MAX - 1]; /* the same two of the services from VG_LOAD_CPU on */
	__u32 hot_in_flight;	 /* more requests of the CPU pool in flight than this: the node is hot (policy.h) */
	__u32 reserved2;
};
VG_ASSERT_SIZE(struct vg_local, 64);

/*
 * Index of the array: partition. Values of a mapped array lie at multiples of 8 bytes, whatever their size: every
 * value that user space maps is a multiple of 8 long, so that it is an array in C too.
 */
struct vg_partition_owner {
	__u16 node;    /* VG_NODE_NONE: nobody */
	__u16 reserved[3]; /* the kernel rounds the elements of an array up to 8 bytes: so do we, or mappings disagree
			    */
};
VG_ASSERT_SIZE(struct vg_partition_owner, 8);

#define VG_NODE_HAS_V4 0x1
#define VG_NODE_HAS_V6 0x2
#define VG_NODE_HAS_MAC 0x4 /* mac and ifindex are filled in: used where the FIB lookup has no neighbour */

/* Index of the array: node number. */
struct vg_node {
	__u32 flags;	  /* VG_NODE_HAS_* */
	__be32 address4;
	__u8 address6[16];
	__u8 mac[6];	  /* next hop towards the node */
	__be16 port_mem;
	__u32 ifindex;
	__be16 port_cpu;  /* UDP port of its CPU pool, 0: off */
	__u16 reserved;
};
VG_ASSERT_SIZE(struct vg_node, 40);

/* ---- what the programs tell each other ------------------------------------------------------------------------- */

/* An IP address; IPv4 as ::ffff:a.b.c.d. */
struct vg_ip_address {
	__u8 bytes[16];
};
VG_ASSERT_SIZE(struct vg_ip_address, 16);

/*
 * How to reach who asked. A steered request comes from the link address of the node that steered it, but is answered to
 * the client: tc_egress notes where the stack sends VIRGO's answers, and XDP sends its own there. An entry older than
 * VG_NEIGHBOUR_AGE_MS is not used: then the daemon answers, through the stack, and the entry is fresh again.
 */
struct vg_neighbour {
	__u64 seen_ns; /* coarse clock */
	__u8 mac[6];
	__u16 reserved;
	__u32 ifindex;
	__u32 reserved2;
};
VG_ASSERT_SIZE(struct vg_neighbour, 24);

/* ---- what the programs tell the world -------------------------------------------------------------------------- */

struct vg_counter {
	__u64 packets;
	__u64 bytes;
};
VG_ASSERT_SIZE(struct vg_counter, 16);

/*
 * What a node last said of itself. A stamp is believed from who proves to hold the cluster key, or, without a key,
 * from the address the node table has. Written by whoever hears it: XDP, and the daemon for what reached its sockets.
 * Each field is written atomically; a reader may see two stamps mixed, both of which were true a moment ago.
 */
struct vg_service_load {
	__u64 seen_ns; /* CLOCK_MONOTONIC when it came, 0: never */
	__u32 in_flight;
	__u32 service_ns;
	__u32 sent;    /* requests this node has sent there since */
	__u32 reserved;
};
VG_ASSERT_SIZE(struct vg_service_load, 24);

struct vg_node_load {
	__u64 stamps;	 /* believed, ever */
	__u64 strangers; /* claimed to be this node's and were not believed */
	__u64 seen_ns;	 /* the latest of `service` */
	__u32 run_queue_delay_ns;
	__u16 memory_free_permille;
	__u16 reserved;
	struct vg_service_load service[VG_LOADS_MAX];
};
VG_ASSERT_SIZE(struct vg_node_load, 128);

/*
 * Where requests were sent that named no node, so that one that is asked again goes to the same node and is not done
 * twice. A set of four; an entry younger than VG_STEERED_AGE_MS gives way to none.
 */
#define VG_STEERED_WAYS 4
struct vg_steered_entry {
	__u64 name;    /* client and sequence, hashed; 0: free */
	__u32 seen_ms; /* coarse clock, wraps */
	__u16 node;
	__u16 reserved;
};
VG_ASSERT_SIZE(struct vg_steered_entry, 16);

struct vg_steered {
	struct vg_steered_entry entries[VG_STEERED_WAYS];
};
VG_ASSERT_SIZE(struct vg_steered, 64);

/* Figures of the daemon, for the agent's pages. Key 0; each field by itself. Counts, but for what is in use now. */
struct vg_pool {
	__u64 updated_ns; /* CLOCK_MONOTONIC */
	__u64 keys, handles, expired;
	__u64 arena_bytes, arena_used, heap_bytes, heap_used;
	__u64 requests_stream, requests_datagram, hits, misses, forwarded, refused;
	__u64 connections_open;
	__u64 workers;
	__u64 heartbeats;
	__u64 reserved[7];
};
VG_ASSERT_SIZE(struct vg_pool, 192);

/* And those of its other services. Key 0; each field by itself. */
struct vg_cpu_figures {
	__u64 updated_ns; /* CLOCK_MONOTONIC; 0: this node has none */
	struct vg_cpu_counts counts;
};
VG_ASSERT_SIZE(struct vg_cpu_figures, 144);

struct vg_file_figures {
	__u64 updated_ns; /* the same */
	struct vg_file_counts counts;
};
VG_ASSERT_SIZE(struct vg_file_figures, 184);

/*
 * Histograms of time: bucket b counts what took less than 2^(VG_TIME_FIRST_BIT + b) nanoseconds and did not fit the one
 * before; the last one has no bound.
 */
#define VG_TIME_FIRST_BIT 10
#define VG_TIME_BUCKETS 24

/* What a CPU does, from the scheduler's switches. A stint is the time from one switch to the next. */
#define VG_STINT_IDLE 0
#define VG_STINT_BUSY 1
#define VG_STINT_POLLING 2 /* a task that is known to ask in a loop whether there is work */
struct vg_cpu_load {
	__u64 stint_ns[3];    /* by kind, of stints that ended */
	__u64 switches;
	__u64 waits;	      /* stints before which the task waited for the CPU */
	__u64 wait_ns;	      /* and how long together: the run-queue delay */
	__u64 runnable_ns;    /* tasks on the run queue × time, so that its mean length over any interval is known */
	__u64 began_clock_ns; /* the stint that lasts, by the run queue's own clock */
	__u64 reserved;
	__u32 kind;	      /* its, VG_STINT_* */
	__u32 runnable;	      /* tasks on the run queue when it began, the running one included */
	__u64 wait_buckets[VG_TIME_BUCKETS];
};
VG_ASSERT_SIZE(struct vg_cpu_load, 272);

/* One switch in VG_CGROUP_SAMPLE is counted for the cgroup of the task that waited. */
#define VG_CGROUP_SAMPLE 16
struct vg_cgroup_load {
	__u64 waits;
	__u64 wait_ns;
	__u64 wait_buckets[VG_TIME_BUCKETS];
};
VG_ASSERT_SIZE(struct vg_cgroup_load, 208);

/* Requests of the block layer, from issue to completion. */
#define VG_IO_READ 0
#define VG_IO_WRITE 1
#define VG_IO_OTHER 2
#define VG_IO_MAX 3
struct vg_io_load {
	__u64 requests;
	__u64 bytes;
	__u64 time_ns;
	__u64 unseen; /* completed, but the issue was not seen */
	__u64 time_buckets[VG_TIME_BUCKETS];
};
VG_ASSERT_SIZE(struct vg_io_load, 224);

/* What the agent reads of /proc while it runs, once a second. Pressure: the kernel's PSI. */
struct vg_pressure {
	__u64 some_us, full_us; /* totals */
	__u32 some_permille, full_permille; /* of the last second */
};
struct vg_host {
	__u64 updated_ns; /* CLOCK_MONOTONIC */
	__u64 memory_bytes, memory_available_bytes;
	struct vg_pressure cpu, memory, io;
	__u64 reserved[2];
};
VG_ASSERT_SIZE(struct vg_host, 112);

struct vg_budget {
	__u64 tick_ns;	 /* the coarse clock when tokens were last added */
	__u64 tokens;	 /* answers left */
	__u64 jiffy;	 /* the kernel's count of ticks when … */
	__u64 now_ns;	 /* … the coarse clock was last read: it stands still until the next */
};
VG_ASSERT_SIZE(struct vg_budget, 32);

/* The body of an answer of several values while it is made; a power of two of words, longer than any datagram. */
#define VG_SCRATCH_WORDS 256
struct vg_scratch {
	__u64 word[VG_SCRATCH_WORDS];
	__u64 lookup[24]; /* key and place of the lookup at hand: a program's stack is too small for them */
};
VG_ASSERT_SIZE(struct vg_scratch, 2240);

#endif
