/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * libvirgo inside. One struct virgo, one thread.
 *
 *   handle.c    making and ending a client           options.c   node lists, key file
 *   request.c   submit, route, time out, complete    route.c     which node owns what, learnt from answers
 *   datagram.c  UDP: batches, resending, matching    stream.c    TCP: one connection a node, opened when needed
 *   reply.c     what an answer means                 topology.c  the cluster's table, when nobody steers
 *   api.c       the synchronous calls                           link.c      what jobs and files have for TCP, link.h
 *   jobs and files have headers of their own: job.h, file.h
 *
 * Nothing here calls a result function except vg_request_complete, and that is called only from inside vg_client_step.
 */
#ifndef VG_CLIENT_CLIENT_H
#define VG_CLIENT_CLIENT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "virgo/limits.h"
#include "virgo/virgo.h"
#include "virgo/wire.h"
#include "virgo/wire_codec.h"

#define VG_CLIENT_NODES_MAX 64 /* configured addresses */
#define VG_CLIENT_PEERS_MAX (VG_CLIENT_NODES_MAX + VG_NODES_MAX)
#define VG_CLIENT_BATCH 32 /* datagrams a system call */
#define VG_CLIENT_TEXT_MAX 256
#define VG_CLIENT_ADDRESS_TEXT_MAX 64
#define VG_CLIENT_CONF_FILE "/etc/virgo_client.conf"

/*
 * Resending follows RFC 6298 with other bounds: a cluster's round trips are well below a second, so the first guess is
 * 100 ms instead of one second; and a resend costs little, as the node recognises it.
 */
#define VG_RESEND_FIRST_NS 100000000ULL
#define VG_RESEND_MIN_NS 20000000ULL
#define VG_RESEND_MAX_NS 1000000000ULL
#define VG_UNPROVEN_SENDS_MAX 2		/* datagrams to an address that never answered one, before TCP is tried */
#define VG_UDP_SUSPECT_NS 5000000000ULL /* how long TCP is used after UDP did not deliver */
#define VG_CONNECT_NS 1000000000ULL	/* a TCP handshake that takes longer has failed */
#define VG_REDIRECTS_MAX 3
#define VG_BUSY_WAIT_NS 2000000ULL

union vg_address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

struct vg_request;
struct vg_link;
struct vg_question;

/* The connection to one node, opened by the first request that wants it. */
struct vg_stream {
	int fd; /* -1: none */
	bool connecting;
	bool listed;				   /* in virgo.streams */
	__u64 progress_ns;			   /* when bytes last moved, or connecting began */
	struct vg_request *send_first, *send_last; /* not wholly sent */
	__u64 head_filled;			   /* bytes of the header that arrives */
	struct vg_wire_header head;
	__u8 *body; /* malloc; grows as it arrives, so that a lying length costs nothing */
	__u64 body_filled, body_bytes;
	struct vg_peer *next; /* in virgo.streams */
};

/* An address at which a node answers. */
struct vg_peer {
	union vg_address address;
	socklen_t address_length;
	char text[VG_CLIENT_ADDRESS_TEXT_MAX];
	__u16 node;	    /* its number, VG_NODE_NONE until it has answered */
	bool udp_works;	    /* it has answered a datagram */
	bool stream_failed; /* the last attempt at TCP did not get through */
	__u64 udp_suspect_until_ns;
	__u64 rtt_ns, rtt_variation_ns; /* RFC 6298; rtt 0: no sample yet */
	struct virgo_load load;
	__u16 cpu_port; /* of its CPU pool, as the cluster's table says; 0: not known */
	bool cpu_off;	/* it has none */
	__u16 file_port; /* the same of its file pool */
	bool file_off;
	struct vg_stream stream;
};

enum vg_request_state {
	VG_REQUEST_FREE = 0,
	VG_REQUEST_DATAGRAM, /* sent or in the batch: due_ns is when it is sent again */
	VG_REQUEST_STREAM,   /* in a stream's queue, or sent on it */
	VG_REQUEST_WAITING,  /* the node was busy: due_ns is when it is tried again */
};

struct vg_request {
	enum vg_request_state state;
	enum virgo_operation operation;
	__u8 opcode;
	bool repeatable; /* doing it twice is doing it once */
	bool pinned;	 /* for this node and no other */
	bool batched;	 /* in the batch that has not left */
	bool stream_only;
	bool internal; /* our own: not counted in what users see */
	bool resent;   /* a round trip would be ambiguous (Karn's rule) */
	__u8 redirects, streams_tried;
	__u16 sends, datagram_sends;
	__u16 datagram_length; /* with padding; 0: not built */
	unsigned int flags;    /* as submitted */
	__u64 sequence;
	__u64 submitted_ns, sent_ns, due_ns, deadline_ns, wait_ns;
	__u64 stream_sent; /* bytes */
	struct vg_peer *peer;
	struct vg_request *next; /* in the stream's queue */
	const void *key, *data;
	__u32 key_length;
	__u64 length; /* of data; or of the range that is asked */
	virgo_result_fn fn;
	void *context;
	/* Header and padded key, then, if it all fits, body and padding: the datagram. `head` grows for long keys. */
	__u8 *head; /* `datagram`, or malloc */
	__u8 datagram[VG_DATAGRAM_MAX] __attribute__((aligned(8)));
};

struct virgo {
	bool keyed, delivering;
	__u64 key[2];
	__u64 client, sequence;
	unsigned int flags, resends;
	unsigned int limit;  /* requests users may have in flight */
	unsigned int window; /* places for requests: a power of two, larger than the limit */
	__u64 timeout_ns;
	__u64 random_state;
	int fd[2]; /* datagrams: IPv4, IPv6; -1: none */

	struct vg_request *requests; /* window of them: request `sequence` lives in slot sequence mod window */
	unsigned int pending;
	unsigned int internal; /* of the pending */
	unsigned int once;     /* of the pending: changes that must not be made twice */
	__u64 once_floor;      /* no such change in flight has a lower sequence */
	__u64 topology_due_ns;
	unsigned int delivered; /* result functions called, ever */
	__u64 timer_ns;		/* no request is due before */

	struct vg_request *batch[VG_CLIENT_BATCH];
	unsigned int batched;

	struct vg_peer **peers; /* VG_CLIENT_PEERS_MAX places */
	unsigned int peers_count, configured_count, turn;
	struct vg_peer *streams; /* with a descriptor or a queue */
	struct vg_peer *peer_of_node[VG_NODES_MAX];
	__u16 node_of_partition[VG_PARTITIONS];
	__u32 epoch;

	/* The longest values of late decide how much a GET is padded. */
	__u32 value_bytes_now, value_bytes_before;
	unsigned int value_samples;
	__u32 mget_value_bytes; /* smoothed: how many keys are asked for in one message */

	/* Jobs: see job.h. */
	struct vg_link **links; /* VG_LINKS_MAX places, made with the first */
	unsigned int links_count, jobs_count;
	struct virgo_job *jobs;				 /* that have not ended */
	struct virgo_job *jobs_ended, *jobs_ended_last; /* and those whose end has to be told */
	struct vg_question *questions;
	__u64 links_due_ns; /* no job, question, file request or link wants to be looked after before */
	__u64 pool_until_ns;
	bool pool_asked; /* for the other nodes */
	__u16 cpu_port;
	__u8 owner[VG_JOB_OWNER_MAX]; /* padded with zeros */
	__u32 owner_length;

	__u16 file_port;
	bool file_port_said;
	struct vg_remotes *files; /* file.h */

	bool refused_us; /* a node said "unauthorised" with a tag we could not verify */
	struct virgo_counters counters;
	char error_text[VG_CLIENT_TEXT_MAX];
	struct vg_inbox *inbox; /* where datagrams arrive */
	struct vg_near *near;	/* values kept here, see near.h; NULL: none are */
};

/* options.c: 0 or negative errno with a sentence in `why`. */
int vg_nodes_parse(struct virgo *v, const char *nodes, __u16 port, char *why, size_t why_bytes);
int vg_node_resolve(const char *node, __u16 port, union vg_address *ret_address, socklen_t *ret_length);
int vg_nodes_default(char *text, size_t text_bytes);
int vg_key_file_read(const char *path, __u64 ret_key[2], char *why, size_t why_bytes);
int vg_explain(char *why, size_t why_bytes, int error, const char *format, ...) __attribute__((format(printf, 4, 5)));

/* route.c */
void vg_address_text(const union vg_address *address, char *text, size_t text_bytes);
bool vg_address_same(const union vg_address *a, const union vg_address *b);
int vg_peer_add(struct virgo *v, const union vg_address *address, socklen_t length, struct vg_peer **ret_peer);
struct vg_peer *vg_route(struct virgo *v, const struct vg_request *request);
struct vg_peer *vg_route_malloc(struct virgo *v);
/* Another configured node than `peer`, in turn; `peer` itself where there is no other. */
struct vg_peer *vg_route_other(struct virgo *v, const struct vg_peer *peer);
/* The peer that sent this answer; learns its number, its load and, from a key's owner, the route. */
struct vg_peer *vg_route_learn(struct virgo *v, struct vg_request *request, const union vg_address *from,
			       const struct vg_wire_header *header);
void vg_route_forget(struct virgo *v, const struct vg_request *request);
/* From now on the node of this number is asked at this address. */
void vg_route_learn_node(struct virgo *v, struct vg_peer *peer, __u16 node);
__u16 vg_request_partition(const struct vg_request *request);

/* request.c */
/* A request of our own: it takes a place in the window, but nobody outside hears of it. */
int vg_submit_internal(struct virgo *v, const struct virgo_request *wanted);
__u64 vg_now_ns(void);
__u64 vg_random(struct virgo *v);
struct vg_request *vg_request_find(struct virgo *v, __u64 sequence);
void vg_request_start(struct virgo *v, struct vg_request *request, __u64 now_ns);
void vg_request_wait(struct virgo *v, struct vg_request *request, __u64 delay_ns, __u64 now_ns);
void vg_request_complete(struct virgo *v, struct vg_request *request, struct virgo_result *result);
void vg_request_fail(struct virgo *v, struct vg_request *request, int error, const char *text);
void vg_request_due(struct virgo *v, __u64 due_ns);
/* Nobody answered on this path: the next one, or the end. */
void vg_request_no_datagram(struct virgo *v, struct vg_request *request, __u64 now_ns);
void vg_request_no_stream(struct virgo *v, struct vg_request *request, int error, __u64 now_ns);
struct vg_wire_header *vg_request_header(struct vg_request *request);
/* A new sequence for a request that may be repeated, after a node called it a replay. `request` is no more. */
void vg_request_renumber(struct virgo *v, struct vg_request *request);
/* One turn: send, receive, time out. Waits at most until `until_ns` (0: not at all) for something to happen. */
int vg_client_step(struct virgo *v, __u64 until_ns);

/* reply.c: `from` NULL: came over the stream of `peer`. */
void vg_reply(struct virgo *v, struct vg_request *request, struct vg_peer *peer, const union vg_address *from,
	      const struct vg_wire_header *header, const void *body, __u64 now_ns);
bool vg_reply_tag_right(struct virgo *v, const struct vg_wire_header *header);
int vg_error_of_status(const struct vg_request *request, __u8 status);
const char *vg_status_text(__u8 status);

/* topology.c */
void vg_topology_fetch(struct virgo *v, __u64 now_ns);
void vg_topology_read(struct virgo *v, const char *text, size_t length);

/* datagram.c */
int vg_datagram_open(struct virgo *v);
void vg_datagram_close(struct virgo *v);
bool vg_datagram_fits(const struct virgo *v, const struct vg_request *request);
void vg_datagram_start(struct virgo *v, struct vg_request *request, __u64 now_ns);
void vg_datagram_flush(struct virgo *v);
void vg_datagram_receive(struct virgo *v, int family_index);
void vg_datagram_errors(struct virgo *v, int family_index, __u64 now_ns);
void vg_datagram_sample_rtt(struct vg_peer *peer, __u64 rtt_ns);
void vg_datagram_sample_value(struct virgo *v, __u32 bytes);

/* stream.c */
void vg_stream_init(struct vg_stream *stream);
void vg_stream_start(struct virgo *v, struct vg_request *request, struct vg_peer *peer, __u64 now_ns);
short vg_stream_events(const struct vg_stream *stream);
void vg_stream_open_wanted(struct virgo *v, __u64 now_ns);
void vg_stream_ready(struct virgo *v, struct vg_peer *peer, short events, __u64 now_ns);
/* Close it; its requests look for another way. `error` 0: nobody is to blame (end of the client). */
void vg_stream_close(struct virgo *v, struct vg_peer *peer, int error, __u64 now_ns);
/* Take a request out of the send queue; false: it was not there, all of it has left. */
bool vg_stream_forget(struct vg_stream *stream, struct vg_request *request);

#endif
