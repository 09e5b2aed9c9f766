/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The connection to one door of a node, kept for many messages: the CPU pool's (job_link.c) and the file pool's
 * (file_link.c) are links. It is made when somebody wants it, made again when it breaks, and asked for a sign of life
 * when it is silent though somebody waits. Short messages are copied to `out` and leave together at the end of a turn;
 * long bodies leave from where they are, and long answers arrive where they belong.
 */
#ifndef VG_CLIENT_LINK_H
#define VG_CLIENT_LINK_H

#include <sys/uio.h>

#include "client/client.h"

#define VG_LINKS_MAX (2 * VG_CLIENT_PEERS_MAX)
#define VG_LINK_SILENCE_NS 1000000000ULL /* of a connection with users: then it is asked for a sign of life */
#define VG_LINK_RETRY_FIRST_NS 20000000ULL
#define VG_LINK_RETRY_MAX_NS 1000000000ULL
#define VG_LINK_READ_BYTES (256u << 10)
#define VG_LINK_SPILL_BYTES 4096 /* read ahead behind long answers: what is read ahead has to be copied */
#define VG_LINK_COPY_MAX 4096	 /* bodies up to here are copied and leave in one piece with their header */
#define VG_LINK_VECTORS_MAX 64
#define VG_LINK_ROUNDS_MAX 8 /* reads a turn: the others want to be heard too */

/* Bytes from `start` to `end` are filled. */
struct vg_buffer {
	__u8 *data;
	size_t start, end, room;
};
int vg_buffer_reserve(struct vg_buffer *buffer, size_t bytes); /* behind `end`; 0 or -ENOMEM */
int vg_buffer_add(struct vg_buffer *buffer, const void *data, size_t length);
void vg_buffer_free(struct vg_buffer *buffer);

struct vg_link;

/* Whose link it is. */
struct vg_link_user {
	__u32 body_max; /* of a message to us */
	/* It works: what was on it goes on. / It broke: before or after it worked. */
	void (*up)(struct virgo *v, struct vg_link *link, __u64 now_ns);
	void (*down)(struct virgo *v, struct vg_link *link, bool was_up, int error, __u64 now_ns);
	/* A whole message, valid during the call, which may end the link. `body` NULL: it was placed. 0, or -EPROTO. */
	int (*frame)(struct virgo *v, struct vg_link *link, const struct vg_wire_header *header, const __u8 *body,
		     __u64 now_ns);
	/*
	 * Optional: where the body of a message that is not all here yet shall arrive, in up to two pieces of
	 * body_length bytes in all, which stay until frame() or down(). false: nowhere in particular.
	 */
	bool (*place)(struct virgo *v, struct vg_link *link, const struct vg_wire_header *header,
		      struct iovec ret_into[2]);
};

struct vg_link {
	const struct vg_link_user *user;
	union vg_address address;
	socklen_t address_length;
	char text[VG_CLIENT_ADDRESS_TEXT_MAX];
	unsigned int number; /* its place in virgo.links */
	int fd;		     /* -1: none */
	bool connecting;
	bool wanted; /* by somebody, though there is no connection */
	struct vg_buffer in, out;
	struct vg_buffer outside; /* struct vg_link_outside: bodies that leave from where they are */
	__u64 out_taken;	  /* bytes of `out` that have left, ever on this connection */
	struct iovec into[2];	  /* where the rest of the message `head` goes */
	bool placed;
	struct vg_wire_header head;
	unsigned int large; /* long answers that are expected to be placed */
	__u64 begun_ns, heard_ns; /* the attempt to connect; the last bytes */
	__u64 ping_ns;		  /* a sign of life was asked for then; 0: none is owed */
	__u64 retry_ns, backoff_ns;
	__u64 failed_ns; /* 0: the last attempt did not fail */
	struct virgo_load load;
	__u64 load_ns;		 /* when; 0: never */
	unsigned int users;	 /* who wait for something on it */
	unsigned int unanswered; /* of the CPU pool's: jobs SENT */
	struct vg_remote_node *file; /* of the file pool's */
};

static inline bool vg_link_is_up(const struct vg_link *link)
{
	return link->fd >= 0 && !link->connecting;
}

void vg_address_set_port(union vg_address *address, __u16 port);
/* NULL: -ENOMEM */
struct vg_link *vg_link_at(struct virgo *v, const struct vg_link_user *user, const union vg_address *address,
			   socklen_t length);
void vg_link_want(struct virgo *v, struct vg_link *link, __u64 now_ns);
/*
 * A message with our client number and our tag; of `head` everything else but lengths is the caller's. `in_place`: the
 * body stays where it is until it has left or the link is down. 0 or -ENOMEM.
 */
int vg_link_say(struct virgo *v, struct vg_link *link, const struct vg_wire_header *head, const void *key,
		__u32 key_length, const void *body, __u32 body_length, bool in_place);
void vg_link_flush(struct virgo *v, struct vg_link *link, __u64 now_ns);
void vg_link_fail(struct virgo *v, struct vg_link *link, int error, __u64 now_ns);
/* Close it, and tell nobody: at the end, when what was to leave may not be there any more. */
void vg_link_drop(struct vg_link *link);
void vg_link_probe(struct virgo *v, struct vg_link *link, __u64 now_ns);

/* The loop's view. All tell vg_links_due() when they want to be called next. */
void vg_links_due(struct virgo *v, __u64 due_ns);
nfds_t vg_links_poll(struct virgo *v, struct pollfd *polled, nfds_t room);
void vg_links_ready(struct virgo *v, const struct pollfd *polled, nfds_t count, __u64 now_ns);
void vg_links_timers(struct virgo *v, __u64 now_ns);
void vg_links_flush(struct virgo *v, __u64 now_ns);
void vg_links_end(struct virgo *v); /* at the end of the client */

#endif
