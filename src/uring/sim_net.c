/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "uring/sim_net.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "uring/listen.h"

#define SOCKETS_MAX 65536
#define TIME_FIRST_NS 1000000000ull
#define PORT_FIRST 40000

static struct {
	struct sim_socket *socket[SOCKETS_MAX]; /* by descriptor */
	__u32 open, alive;
	__u64 now_ns, random_state;
	__u16 port_next;
	struct vg_sim_faults faults;
} world;

const struct vg_sim_faults vg_sim_no_faults;
const struct vg_sim_faults vg_sim_all_faults = {
	.late = 300,
	.short_transfer = 300,
	.no_buffers = 50,
	.more_cleared = 100,
	.reorder = 300,
	.overflow = 100,
	.spurious = 50,
};

/* ---- the world ------------------------------------------------------------------------------------------------- */

void vg_sim_start(__u64 seed, const struct vg_sim_faults *faults)
{
	vg_sim_end();
	/* Neighbouring seeds must not begin alike. */
	world.random_state = (seed + 1) * 0x9e3779b97f4a7c15ull;
	if (!world.random_state)
		world.random_state = 1;
	world.now_ns = TIME_FIRST_NS;
	world.port_next = PORT_FIRST;
	world.faults = *faults;
}

void vg_sim_end(void)
{
	__u32 index;

	vg_sim_files_reset();
	for (index = 0; index < SOCKETS_MAX && world.open; index++)
		if (world.socket[index])
			vg_sim_socket_close(world.socket[index]);
	assert(!world.alive); /* an operation or a vg_io outlived the world */
}

void vg_sim_set_faults(const struct vg_sim_faults *faults)
{
	world.faults = *faults;
}

const struct vg_sim_faults *vg_sim_faults(void)
{
	return &world.faults;
}

__u64 vg_sim_now_ns(void)
{
	return world.now_ns;
}

void vg_sim_advance(__u64 ns)
{
	world.now_ns += ns;
}

__u64 vg_sim_random(__u64 bound)
{
	assert(world.random_state && bound);
	return (vg_prng_next(&world.random_state) >> 16) % bound;
}

bool vg_sim_chance(__u32 per_thousand)
{
	return per_thousand && vg_sim_random(1000) < per_thousand;
}

__u32 vg_sim_sockets_open(void)
{
	return world.open;
}

/* ---- sockets --------------------------------------------------------------------------------------------------- */

struct sim_socket *vg_sim_socket_new(enum sim_kind kind)
{
	struct sim_socket *socket = calloc(1, sizeof(*socket));
	__u32 index = 0;

	assert(socket);
	if (kind == SIM_NEW || kind == SIM_STREAM) {
		socket->input = malloc(SIM_WINDOW_BYTES);
		assert(socket->input);
	}
	while (world.socket[index]) /* the lowest free number, as the kernel does */
		assert(++index < SOCKETS_MAX);
	world.socket[index] = socket;
	world.open++;
	world.alive++;
	socket->fd = SIM_FD_FIRST + index;
	socket->kind = kind;
	socket->references = 1;
	return socket;
}

struct sim_socket *vg_sim_socket_of(int fd)
{
	return fd >= SIM_FD_FIRST && fd < SIM_FD_FIRST + SOCKETS_MAX ? world.socket[fd - SIM_FD_FIRST] : NULL;
}

void vg_sim_socket_ref(struct sim_socket *socket)
{
	socket->references++;
}

void vg_sim_socket_unref(struct sim_socket *socket)
{
	struct sim_datagram *datagram;

	if (--socket->references)
		return;
	while ((datagram = vg_sim_take_datagram(socket)))
		free(datagram);
	free(socket->input);
	free(socket);
	world.alive--;
}

static void break_stream(struct sim_socket *socket)
{
	socket->reset = true;
	if (socket->other)
		socket->other->reset = true;
}

void vg_sim_socket_close(struct sim_socket *socket)
{
	struct sim_socket *waiting, *other = socket->other;

	world.socket[socket->fd - SIM_FD_FIRST] = NULL;
	world.open--;
	socket->fd = -1;
	socket->abandoned = true;
	if (socket->kind == SIM_LISTEN) {
		while ((waiting = vg_sim_socket_accept(socket)))
			vg_sim_socket_close(waiting);
	}
	if (other) {
		if (vg_sim_socket_waiting(socket))
			other->reset = true;
		other->input_ended = true;
		if (other->abandoned) {
			/* Both sides have gone: neither needs the other any more. */
			socket->other = NULL;
			other->other = NULL;
			vg_sim_socket_unref(other);
			vg_sim_socket_unref(socket);
		}
	}
	vg_sim_socket_unref(socket);
}

static bool same_address(const struct sockaddr_storage *one, const struct sockaddr *other)
{
	const struct sockaddr_in *v4 = (const void *)one, *other_v4 = (const void *)other;
	const struct sockaddr_in6 *v6 = (const void *)one, *other_v6 = (const void *)other;

	if (one->ss_family != other->sa_family)
		return false;
	if (other->sa_family == AF_INET)
		return v4->sin_port == other_v4->sin_port && v4->sin_addr.s_addr == other_v4->sin_addr.s_addr;
	return other->sa_family == AF_INET6 && v6->sin6_port == other_v6->sin6_port &&
	       !memcmp(&v6->sin6_addr, &other_v6->sin6_addr, sizeof(v6->sin6_addr));
}

/* Several workers may listen on one address; the kernel spreads by a hash, this by chance. */
struct sim_socket *vg_sim_socket_find(enum sim_kind kind, const struct sockaddr *address, socklen_t length)
{
	struct sim_socket *found = NULL;
	__u32 index, seen = 0, matches = 0;

	for (index = 0; index < SOCKETS_MAX && seen < world.open; index++) {
		struct sim_socket *socket = world.socket[index];

		if (!socket)
			continue;
		seen++;
		if (socket->kind != kind || !socket->address_length || !same_address(&socket->address, address))
			continue;
		if (!matches++ || !vg_sim_random(matches))
			found = socket;
	}
	return found;
}

static int bound(enum sim_kind kind, const struct sockaddr *address, socklen_t length)
{
	struct sim_socket *socket;

	assert(length <= sizeof(socket->address));
	socket = vg_sim_socket_new(kind);
	memcpy(&socket->address, address, length);
	socket->address_length = length;
	return socket->fd;
}

static int bound_to_text(enum sim_kind kind, const char *text)
{
	struct sockaddr_storage address;
	socklen_t length;
	int error = vg_address_parse(text, &address, &length);

	return error ? error : bound(kind, (struct sockaddr *)&address, length);
}

int vg_listen_tcp(const char *address)
{
	return bound_to_text(SIM_LISTEN, address);
}

int vg_listen_udp(const char *address)
{
	return bound_to_text(SIM_DATAGRAM, address);
}

int vg_sim_listen(const struct sockaddr *address, socklen_t length)
{
	return bound(SIM_LISTEN, address, length);
}

int vg_sim_datagram(const struct sockaddr *address, socklen_t length)
{
	return bound(SIM_DATAGRAM, address, length);
}

/* ---- streams --------------------------------------------------------------------------------------------------- */

int vg_sim_socket_connect(struct sim_socket *near, const struct sockaddr *address, socklen_t length)
{
	struct sim_socket *listening = vg_sim_socket_find(SIM_LISTEN, address, length), *far, **last;

	assert(near->kind == SIM_NEW);
	if (!listening)
		return -ECONNREFUSED;
	far = vg_sim_socket_new(SIM_STREAM);
	near->kind = SIM_STREAM;
	near->other = far;
	far->other = near;
	vg_sim_socket_ref(near);
	vg_sim_socket_ref(far);
	for (last = &listening->backlog_first; *last; last = &(*last)->backlog_next)
		continue;
	*last = far;
	return 0;
}

struct sim_socket *vg_sim_socket_accept(struct sim_socket *listening)
{
	struct sim_socket *socket = listening->backlog_first;

	if (socket)
		listening->backlog_first = socket->backlog_next;
	return socket;
}

size_t vg_sim_socket_room(const struct sim_socket *socket)
{
	return SIM_WINDOW_BYTES - vg_sim_socket_waiting(socket->other);
}

int vg_sim_connect(const struct sockaddr *address, socklen_t length)
{
	struct sim_socket *near = vg_sim_socket_new(SIM_NEW);
	int error = vg_sim_socket_connect(near, address, length);

	if (!error)
		return near->fd;
	vg_sim_socket_close(near);
	return error;
}

ssize_t vg_sim_write(int fd, const void *data, size_t bytes)
{
	struct sim_socket *socket = vg_sim_socket_of(fd), *other;

	assert(socket && socket->kind == SIM_STREAM);
	other = socket->other;
	if (socket->reset)
		return -ECONNRESET;
	if (!other || other->abandoned)
		return -EPIPE;
	assert(!other->input_ended);
	if (bytes > vg_sim_socket_room(socket))
		bytes = vg_sim_socket_room(socket);
	memmove(other->input, other->input + other->input_begin, vg_sim_socket_waiting(other));
	other->input_end -= other->input_begin;
	other->input_begin = 0;
	memcpy(other->input + other->input_end, data, bytes);
	other->input_end += bytes;
	return bytes;
}

ssize_t vg_sim_read(int fd, void *data, size_t bytes)
{
	struct sim_socket *socket = vg_sim_socket_of(fd);
	size_t waiting;

	assert(socket && socket->kind == SIM_STREAM);
	waiting = vg_sim_socket_waiting(socket);
	if (!waiting && socket->reset)
		return -ECONNRESET;
	if (!waiting)
		return socket->input_ended ? 0 : -EAGAIN;
	if (bytes > waiting)
		bytes = waiting;
	memcpy(data, socket->input + socket->input_begin, bytes);
	socket->input_begin += bytes;
	return bytes;
}

void vg_sim_shutdown(int fd)
{
	struct sim_socket *socket = vg_sim_socket_of(fd);

	assert(socket && socket->kind == SIM_STREAM);
	if (socket->other)
		socket->other->input_ended = true;
}

void vg_sim_close(int fd)
{
	struct sim_socket *socket = vg_sim_socket_of(fd);

	assert(socket);
	vg_sim_socket_close(socket);
}

void vg_sim_break(int fd)
{
	struct sim_socket *socket = vg_sim_socket_of(fd);

	assert(socket && socket->kind == SIM_STREAM);
	break_stream(socket);
}

/* ---- datagrams ------------------------------------------------------------------------------------------------- */

static void queue_datagram(struct sim_socket *to, const struct sim_socket *from, const void *data, size_t bytes)
{
	struct sim_datagram *datagram;

	if (to->datagrams == SIM_DATAGRAMS_MAX)
		return;
	datagram = malloc(sizeof(*datagram) + bytes);
	assert(datagram);
	datagram->next = NULL;
	datagram->from = from->address;
	datagram->from_length = from->address_length;
	datagram->bytes = bytes;
	memcpy(datagram->data, data, bytes);
	if (to->datagram_last)
		to->datagram_last->next = datagram;
	else
		to->datagram_first = datagram;
	to->datagram_last = datagram;
	to->datagrams++;
}

void vg_sim_deliver_datagram(struct sim_socket *from, const void *data, size_t bytes, const struct sockaddr *to,
			     socklen_t to_length)
{
	struct sim_socket *socket = vg_sim_socket_find(SIM_DATAGRAM, to, to_length);

	if (!from->address_length) {
		struct sockaddr_in *own = (struct sockaddr_in *)&from->address;

		own->sin_family = AF_INET;
		own->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		own->sin_port = htons(world.port_next++);
		from->address_length = sizeof(*own);
	}
	if (!socket || vg_sim_chance(world.faults.datagram_lost))
		return;
	queue_datagram(socket, from, data, bytes);
	if (vg_sim_chance(world.faults.datagram_doubled))
		queue_datagram(socket, from, data, bytes);
}

struct sim_datagram *vg_sim_take_datagram(struct sim_socket *socket)
{
	struct sim_datagram *datagram = socket->datagram_first;

	if (!datagram)
		return NULL;
	socket->datagram_first = datagram->next;
	if (!socket->datagram_first)
		socket->datagram_last = NULL;
	socket->datagrams--;
	return datagram;
}

int vg_sim_sendto(int fd, const void *data, size_t bytes, const struct sockaddr *peer, socklen_t peer_length)
{
	struct sim_socket *socket = vg_sim_socket_of(fd);

	assert(socket && socket->kind == SIM_DATAGRAM);
	vg_sim_deliver_datagram(socket, data, bytes, peer, peer_length);
	return 0;
}

ssize_t vg_sim_recvfrom(int fd, void *data, size_t bytes, struct sockaddr_storage *ret_peer, socklen_t *ret_peer_length)
{
	struct sim_socket *socket = vg_sim_socket_of(fd);
	struct sim_datagram *datagram;
	ssize_t taken;

	assert(socket && socket->kind == SIM_DATAGRAM);
	datagram = vg_sim_take_datagram(socket);
	if (!datagram)
		return -EAGAIN;
	taken = datagram->bytes < bytes ? datagram->bytes : bytes;
	memcpy(data, datagram->data, taken);
	if (ret_peer) {
		*ret_peer = datagram->from;
		*ret_peer_length = datagram->from_length;
	}
	free(datagram);
	return taken;
}
