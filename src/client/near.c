/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "client/near.h"

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "virgo/hash.h"

#define STREAMS_MAX 64
#define ROWS 16384	     /* a power of two */
#define RECEIVE_BYTES 65536
#define DEPTH_MAX 8	     /* of an answer */
#define REST_NS 1000000000ULL /* after a failure a node is asked as usual for so long */

struct entry {
	struct entry *next;	       /* of its row */
	struct entry *newer, *older;   /* by use */
	struct near_stream *stream;    /* over which its end will be told */
	__u64 hash, deadline_ns;       /* deadline 0: none */
	__u32 key_length;
	size_t length;
	char bytes[]; /* key, value, and a zero */
};

struct near_stream {
	struct vg_peer *peer;
	int fd; /* -1: none */
	__u64 heard_ns, rest_until_ns;
	char *data; /* received and not yet understood */
	size_t filled, room;
};

struct vg_near {
	size_t bytes, used;
	struct entry *newest, *oldest;
	struct near_stream stream[STREAMS_MAX];
	struct vg_peer *owner[VG_PARTITIONS]; /* as nodes have said; NULL: not known */
	char *answer; /* a value that was too large to keep */
	struct entry *row[ROWS];
};

int vg_near_new(struct vg_near **ret_near, size_t bytes)
{
	struct vg_near *near = calloc(1, sizeof(*near));

	if (!near)
		return -ENOMEM;
	near->bytes = bytes;
	for (int i = 0; i < STREAMS_MAX; i++)
		near->stream[i].fd = -1;
	*ret_near = near;
	return 0;
}

/* ---- what is kept ----------------------------------------------------------------------------------------------- */

static size_t cost(const struct entry *entry)
{
	return sizeof(*entry) + entry->key_length + entry->length + 1;
}

static struct entry **find(struct vg_near *near, __u64 hash, const void *key, size_t length)
{
	struct entry **at = &near->row[hash % ROWS];

	while (*at && !((*at)->hash == hash && (*at)->key_length == length && memcmp((*at)->bytes, key, length) == 0))
		at = &(*at)->next;
	return at;
}

static void unlist(struct vg_near *near, struct entry *entry)
{
	if (entry->newer)
		entry->newer->older = entry->older;
	else
		near->newest = entry->older;
	if (entry->older)
		entry->older->newer = entry->newer;
	else
		near->oldest = entry->newer;
}

static void list(struct vg_near *near, struct entry *entry)
{
	entry->newer = NULL;
	entry->older = near->newest;
	if (near->newest)
		near->newest->newer = entry;
	else
		near->oldest = entry;
	near->newest = entry;
}

static void drop(struct vg_near *near, struct entry **at)
{
	struct entry *entry = *at;

	*at = entry->next;
	unlist(near, entry);
	near->used -= cost(entry);
	free(entry);
}

static void drop_entry(struct vg_near *near, struct entry *entry)
{
	drop(near, find(near, entry->hash, entry->bytes, entry->key_length));
}

/* `stream` NULL: all there is. */
static void drop_all(struct vg_near *near, const struct near_stream *stream)
{
	for (struct entry *entry = near->newest, *older; entry; entry = older) {
		older = entry->older;
		if (!stream || entry->stream == stream)
			drop_entry(near, entry);
	}
}

void vg_near_forget(struct vg_near *near, const void *key, size_t key_length)
{
	struct entry **at = find(near, vg_hash64(key, (__u32)key_length), key, key_length);

	if (*at)
		drop(near, at);
}

/* Keep a copy and answer it; a value that is too large or may not last is answered from memory of its own. */
static const void *keep(struct vg_near *near, struct near_stream *stream, const void *key, size_t key_length,
			const void *value, size_t length, __u64 deadline_ns, bool lasting)
{
	struct entry *entry = malloc(sizeof(*entry) + key_length + length + 1);

	if (!entry)
		return NULL;
	*entry = (struct entry){ .stream = stream, .hash = vg_hash64(key, (__u32)key_length),
				 .deadline_ns = deadline_ns, .key_length = (__u32)key_length, .length = length };
	memcpy(entry->bytes, key, key_length);
	memcpy(entry->bytes + key_length, value, length);
	entry->bytes[key_length + length] = '\0';
	if (!lasting || cost(entry) > near->bytes / 2) {
		free(near->answer);
		near->answer = (char *)entry;
		return entry->bytes + key_length;
	}
	vg_near_forget(near, key, key_length);
	while (near->used + cost(entry) > near->bytes)
		drop_entry(near, near->oldest);
	entry->next = near->row[entry->hash % ROWS];
	near->row[entry->hash % ROWS] = entry;
	list(near, entry);
	near->used += cost(entry);
	return entry->bytes + key_length;
}

/* ---- what a node says ------------------------------------------------------------------------------------------- */

/* A line `<type><number>\r\n`: its length, 0: not all of it is here. */
static size_t read_head(const char *at, size_t length, long long *ret_number)
{
	const char *end = memmem(at, length, "\r\n", 2);

	if (!end)
		return 0;
	*ret_number = strtoll(at + 1, NULL, 10);
	return (size_t)(end + 2 - at);
}

/* One whole value of RESP: its length, 0: not all of it is here, -EPROTO: it is none. */
static ssize_t value_length(const char *at, size_t length, int depth)
{
	long long number = 0, elements;
	size_t taken = read_head(at, length, &number);

	if (!taken || depth > DEPTH_MAX)
		return depth > DEPTH_MAX ? -EPROTO : 0;
	switch (at[0]) {
	case '+':
	case '-':
	case ':':
	case '_':
	case '#':
	case ',':
		return (ssize_t)taken;
	case '$':
	case '=':
		if (number < 0)
			return (ssize_t)taken;
		if (number > (long long)VG_VALUE_MAX)
			return -EPROTO;
		return length - taken >= (size_t)number + 2 ? (ssize_t)(taken + (size_t)number + 2) : 0;
	case '*':
	case '>':
	case '~':
	case '%':
		elements = at[0] == '%' ? 2 * number : number;
		for (long long i = 0; i < elements; i++) {
			ssize_t one = value_length(at + taken, length - taken, depth + 1);

			if (one <= 0)
				return one;
			taken += (size_t)one;
		}
		return (ssize_t)taken;
	}
	return -EPROTO;
}

/* `>2 invalidate [keys]`, or null: all. What else is pushed does not concern us. */
static void take_push(struct virgo *v, const char *at, size_t length)
{
	static const char head[] = ">2\r\n$10\r\ninvalidate\r\n";
	const char *end = at + length;
	long long keys = 0, bytes = 0;
	size_t taken;

	if (length < sizeof(head) || memcmp(at, head, sizeof(head) - 1) != 0)
		return;
	at += sizeof(head) - 1;
	v->counters.near_invalidated++;
	if (*at != '*') {
		drop_all(v->near, NULL);
		return;
	}
	at += read_head(at, (size_t)(end - at), &keys);
	for (long long i = 0; i < keys && at < end; i++) {
		taken = read_head(at, (size_t)(end - at), &bytes);
		if (!taken || at[0] != '$' || bytes < 0)
			return;
		vg_near_forget(v->near, at + taken, (size_t)bytes);
		at += taken + (size_t)bytes + 2;
	}
}

/* ---- a connection ----------------------------------------------------------------------------------------------- */

static void close_stream(struct virgo *v, struct near_stream *stream)
{
	if (stream->fd >= 0)
		(void)close(stream->fd);
	stream->fd = -1;
	stream->filled = 0;
	stream->rest_until_ns = vg_now_ns() + REST_NS;
	drop_all(v->near, stream);
}

/* Take what is there: 0, or why the connection cannot go on (-EAGAIN: nothing is there). */
static int receive(struct near_stream *stream)
{
	ssize_t got;

	if (stream->room - stream->filled < RECEIVE_BYTES) {
		size_t room = 2 * stream->room + RECEIVE_BYTES;
		char *data = realloc(stream->data, room);

		if (!data)
			return -ENOMEM;
		stream->data = data;
		stream->room = room;
	}
	got = recv(stream->fd, stream->data + stream->filled, stream->room - stream->filled, MSG_DONTWAIT);
	if (got < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	if (!got)
		return -ECONNRESET;
	stream->filled += (size_t)got;
	stream->heard_ns = vg_now_ns();
	return 0;
}

/*
 * Act on all pushes in front of the first answer. 1: an answer stands at the front, *ret_length long; 0: none yet;
 * or negative.
 */
static int read_pushes(struct virgo *v, struct near_stream *stream, size_t *ret_length)
{
	size_t at = 0;
	int found = 0;

	while (at < stream->filled && !found) {
		ssize_t length = value_length(stream->data + at, stream->filled - at, 0);

		if (length < 0)
			return (int)length;
		if (!length)
			break;
		if (stream->data[at] == '>') {
			take_push(v, stream->data + at, (size_t)length);
			at += (size_t)length;
		} else {
			*ret_length = (size_t)length;
			found = 1;
		}
	}
	stream->filled -= at;
	if (at)
		memmove(stream->data, stream->data + at, stream->filled);
	return found;
}

static void take_off(struct near_stream *stream, size_t length)
{
	stream->filled -= length;
	memmove(stream->data, stream->data + length, stream->filled);
}

/* Wait for the next answer; 0 and its length, or negative. */
static int await(struct virgo *v, struct near_stream *stream, size_t *ret_length)
{
	__u64 until_ns = vg_now_ns() + v->timeout_ns;

	for (;;) {
		int found = read_pushes(v, stream, ret_length), error;
		struct pollfd events = { stream->fd, POLLIN, 0 };
		__u64 now_ns = vg_now_ns();

		if (found)
			return found < 0 ? found : 0;
		if (now_ns >= until_ns)
			return -ETIMEDOUT;
		(void)poll(&events, 1, (int)((until_ns - now_ns) / 1000000) + 1);
		error = receive(stream);
		if (error && error != -EAGAIN)
			return error;
	}
}

static int send_all(struct virgo *v, struct near_stream *stream, const char *data, size_t length)
{
	__u64 until_ns = vg_now_ns() + v->timeout_ns;

	while (length) {
		ssize_t sent = send(stream->fd, data, length, MSG_NOSIGNAL | MSG_DONTWAIT);
		struct pollfd events = { stream->fd, POLLOUT, 0 };

		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (sent > 0) {
			data += sent;
			length -= (size_t)sent;
		} else if (vg_now_ns() >= until_ns) {
			return -ETIMEDOUT;
		} else {
			(void)poll(&events, 1, 100);
		}
	}
	return 0;
}

/* An answer that has to be no error, and nothing else. */
static int expect_good(struct virgo *v, struct near_stream *stream)
{
	size_t length;
	int error = await(v, stream, &length);

	if (error)
		return error;
	error = stream->data[0] == '-' ? -EACCES : 0;
	take_off(stream, length);
	return error;
}

static int connect_to(struct near_stream *stream)
{
	const struct vg_peer *peer = stream->peer;
	struct pollfd events = { .events = POLLOUT };
	socklen_t length = sizeof(int);
	int error = 0, on = 1;

	stream->fd = socket(peer->address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (stream->fd < 0)
		return -errno;
	(void)setsockopt(stream->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(stream->fd, &peer->address.any, peer->address_length) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return -errno;
	events.fd = stream->fd;
	if (poll(&events, 1, (int)(VG_CONNECT_NS / 1000000)) != 1)
		return -ETIMEDOUT;
	if (getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &length))
		return -errno;
	return -error;
}

static int open_stream(struct virgo *v, struct near_stream *stream)
{
	static const char hello[] = "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"
				    "*3\r\n$6\r\nCLIENT\r\n$8\r\nTRACKING\r\n$2\r\nON\r\n";
	int error = connect_to(stream);

	error = error ? error : send_all(v, stream, hello, sizeof(hello) - 1);
	error = error ? error : expect_good(v, stream);
	return error ? error : expect_good(v, stream);
}

/* The connection to that peer, made if need be; NULL: this way is closed. */
static struct near_stream *stream_to(struct virgo *v, struct vg_peer *peer)
{
	struct near_stream *stream = v->near->stream;

	while (stream < v->near->stream + STREAMS_MAX && stream->peer && stream->peer != peer)
		stream++;
	if (stream == v->near->stream + STREAMS_MAX)
		return NULL;
	stream->peer = peer;
	if (stream->fd >= 0)
		return stream;
	if (vg_now_ns() < stream->rest_until_ns)
		return NULL;
	if (open_stream(v, stream)) {
		close_stream(v, stream);
		return NULL;
	}
	return stream;
}

void vg_near_free(struct vg_near *near)
{
	if (!near)
		return;
	drop_all(near, NULL);
	for (int i = 0; i < STREAMS_MAX; i++) {
		if (near->stream[i].fd >= 0)
			(void)close(near->stream[i].fd);
		free(near->stream[i].data);
	}
	free(near->answer);
	free(near);
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

/* Has everything that the owner sent been looked at, and is it there? Else what came over it is worth nothing. */
static bool is_current(struct virgo *v, struct near_stream *stream)
{
	static const char ping[] = "*1\r\n$4\r\nPING\r\n";
	size_t length;
	int error;

	do
		error = receive(stream);
	while (!error);
	error = error == -EAGAIN ? read_pushes(v, stream, &length) : error;
	if (!error && vg_now_ns() - stream->heard_ns > VG_NEAR_SILENCE_NS) {
		error = send_all(v, stream, ping, sizeof(ping) - 1);
		error = error ? error : expect_good(v, stream);
	}
	if (error) /* an answer that nobody asked for is an error, too */
		close_stream(v, stream);
	return !error;
}

static const struct entry *look(struct virgo *v, const void *key, size_t length)
{
	__u64 hash = vg_hash64(key, (__u32)length);
	struct entry *entry = *find(v->near, hash, key, length);

	if (!entry || !is_current(v, entry->stream))
		return NULL;
	entry = *find(v->near, hash, key, length); /* it may have gone just now */
	if (entry && entry->deadline_ns && vg_now_ns() >= entry->deadline_ns) {
		drop_entry(v->near, entry);
		return NULL;
	}
	if (entry) {
		unlist(v->near, entry);
		list(v->near, entry);
	}
	return entry;
}

static int ask(struct virgo *v, struct near_stream *stream, const void *key, size_t length)
{
	size_t room = 2 * length + 160, at;
	char *text = malloc(room);
	int error;

	if (!text)
		return -ENOMEM;
	at = (size_t)snprintf(text, room, "*2\r\n$3\r\nGET\r\n$%zu\r\n", length);
	memcpy(text + at, key, length);
	at += length;
	at += (size_t)snprintf(text + at, room - at, "\r\n*2\r\n$4\r\nPTTL\r\n$%zu\r\n", length);
	memcpy(text + at, key, length);
	at += length;
	memcpy(text + at, "\r\n", 2);
	error = send_all(v, stream, text, at + 2);
	free(text);
	return error;
}

/* "-MOVED <partition> <address>": ask there from now on. */
static bool learn_owner(struct virgo *v, const char *line, __u16 partition)
{
	const char *blank = memchr(line + 7, ' ', 8);
	union vg_address address;
	struct vg_peer *peer;
	socklen_t length;
	char text[VG_CLIENT_ADDRESS_TEXT_MAX];

	if (!blank)
		return false;
	(void)snprintf(text, sizeof(text), "%.*s", (int)strcspn(blank + 1, "\r"), blank + 1);
	if (vg_node_resolve(text, VG_PORT_MEM, &address, &length) || vg_peer_add(v, &address, length, &peer))
		return false;
	v->near->owner[partition] = peer;
	return true;
}

/* The two answers to ask(): the value is kept. -EXDEV: the key is another node's, which is known now. */
static int take_answers(struct virgo *v, struct near_stream *stream, const void *key, size_t key_length,
			const void **ret_value, size_t *ret_length)
{
	size_t first, second;
	long long number = -1, ttl_ms = -1;
	const char *value = NULL;
	bool lasting = true;
	size_t head;
	int error = await(v, stream, &first);

	if (error)
		return error;
	/* Both are wanted whole before anything is done with them: the buffer moves when more comes. */
	while (!(second = (size_t)value_length(stream->data + first, stream->filled - first, 0)) ||
	       stream->data[first] == '>') {
		struct pollfd events = { stream->fd, POLLIN, 0 };

		if (second) { /* a push between the two: its key is to go, and that may be ours */
			lasting = false;
			take_push(v, stream->data + first, second);
			stream->filled -= second;
			memmove(stream->data + first, stream->data + first + second, stream->filled - first);
			continue;
		}
		if (poll(&events, 1, (int)(v->timeout_ns / 1000000)) != 1)
			return -ETIMEDOUT;
		error = receive(stream);
		if (error && error != -EAGAIN)
			return error;
	}
	if ((ssize_t)second < 0)
		return -EPROTO;
	if (memcmp(stream->data, "-MOVED ", 7) == 0) {
		error = learn_owner(v, stream->data, vg_partition_of(key, (__u32)key_length)) ? -EXDEV : -EOPNOTSUPP;
	} else if (stream->data[0] == '$' || stream->data[0] == '_') {
		head = read_head(stream->data, first, &number);
		error = stream->data[0] == '_' || number < 0 ? -ENOENT : 0;
		value = stream->data + head;
	} else {
		error = -EOPNOTSUPP;
	}
	if (!error) {
		(void)read_head(stream->data + first, second, &ttl_ms);
		*ret_length = (size_t)number;
		*ret_value = keep(v->near, stream, key, key_length, value, (size_t)number,
				  ttl_ms == -1 ? 0 : vg_now_ns() + (ttl_ms > 0 ? (__u64)ttl_ms * 1000000 : 0) + 1,
				  lasting);
		error = *ret_value ? 0 : -ENOMEM;
	}
	take_off(stream, first + second);
	return error;
}

static struct vg_peer *owner_of(struct virgo *v, __u16 partition)
{
	__u16 node = v->node_of_partition[partition];

	if (v->near->owner[partition])
		return v->near->owner[partition];
	return node < VG_NODES_MAX && v->peer_of_node[node] ? v->peer_of_node[node] : v->peers[0];
}

int vg_near_get(struct virgo *v, const void *key, size_t key_length, const void **ret_value, size_t *ret_length)
{
	const struct entry *entry;
	int error = -EXDEV;

	if (key_length > VG_KEY_MAX)
		return -EOPNOTSUPP;
	entry = look(v, key, key_length);
	if (entry) {
		v->counters.near_hits++;
		*ret_value = entry->bytes + entry->key_length;
		*ret_length = entry->length;
		return 0;
	}
	v->counters.near_misses++;
	for (int tries = 0; tries < VG_REDIRECTS_MAX && error == -EXDEV; tries++) {
		struct vg_peer *peer = owner_of(v, vg_partition_of(key, (__u32)key_length));
		struct near_stream *stream = stream_to(v, peer);

		if (!stream)
			return -EOPNOTSUPP;
		error = ask(v, stream, key, key_length);
		error = error ? error : take_answers(v, stream, key, key_length, ret_value, ret_length);
		if (error && error != -EXDEV && error != -ENOENT && error != -EOPNOTSUPP) {
			close_stream(v, stream);
			error = -EOPNOTSUPP;
		}
	}
	return error == -EXDEV ? -EOPNOTSUPP : error;
}
