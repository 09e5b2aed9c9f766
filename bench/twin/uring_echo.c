// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * What a TCP server on io_uring can do at best: multishot accept and receive into provided buffers, one send for each
 * receive, nothing between. It is the limit that the daemon's processor time per request is compared with.
 * Usage: uring_echo ADDRESS PORT
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFERS 1024u
#define BUFFER_BYTES 8192u
#define CONNECTIONS_MAX 4096

/* user_data: what, then the buffer (send), then the socket. */
enum what { ACCEPT = 1, RECEIVE, SEND };
#define USER_DATA(what, buffer, socket) \
	((unsigned long long)(what) << 56 | (unsigned long long)(buffer) << 32 | (socket))

static struct io_uring ring;
static struct io_uring_buf_ring *buffers;
static char *memory;

static void give_back(unsigned int buffer)
{
	io_uring_buf_ring_add(buffers, memory + (size_t)buffer * BUFFER_BYTES, BUFFER_BYTES, (unsigned short)buffer,
			      io_uring_buf_ring_mask(BUFFERS), 0);
	io_uring_buf_ring_advance(buffers, 1);
}

static struct io_uring_sqe *next_sqe(void)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	if (!sqe) {
		io_uring_submit(&ring);
		sqe = io_uring_get_sqe(&ring);
	}
	assert(sqe);
	return sqe;
}

static void arm_accept(int listener)
{
	struct io_uring_sqe *sqe = next_sqe();

	io_uring_prep_multishot_accept_direct(sqe, listener, NULL, NULL, 0);
	sqe->user_data = USER_DATA(ACCEPT, 0, (unsigned int)listener);
}

static void arm_receive(unsigned int socket)
{
	struct io_uring_sqe *sqe = next_sqe();

	io_uring_prep_recv_multishot(sqe, (int)socket, NULL, 0, 0);
	sqe->flags |= IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
	sqe->user_data = USER_DATA(RECEIVE, 0, socket);
}

static void close_socket(unsigned int socket)
{
	struct io_uring_sqe *sqe = next_sqe();

	io_uring_prep_close_direct(sqe, socket);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	sqe->user_data = 0;
}

static void on_receive(const struct io_uring_cqe *cqe)
{
	unsigned int socket = (unsigned int)cqe->user_data, buffer = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
	struct io_uring_sqe *sqe;

	if (cqe->res > 0) {
		sqe = next_sqe();
		io_uring_prep_send(sqe, (int)socket, memory + (size_t)buffer * BUFFER_BYTES, (size_t)cqe->res,
				   MSG_WAITALL | MSG_NOSIGNAL);
		sqe->flags |= IOSQE_FIXED_FILE;
		sqe->user_data = USER_DATA(SEND, buffer, socket);
	} else if (cqe->res != -ENOBUFS) {
		close_socket(socket);
		return;
	}
	if (!(cqe->flags & IORING_CQE_F_MORE))
		arm_receive(socket);
}

static void on_completion(const struct io_uring_cqe *cqe)
{
	unsigned int buffer = (unsigned int)(cqe->user_data >> 32) & 0xffffff;

	switch (cqe->user_data >> 56) {
	case ACCEPT:
		if (cqe->res >= 0)
			arm_receive((unsigned int)cqe->res);
		if (!(cqe->flags & IORING_CQE_F_MORE))
			arm_accept((int)(unsigned int)cqe->user_data);
		break;
	case RECEIVE:
		on_receive(cqe);
		break;
	case SEND:
		give_back(buffer);
		break;
	}
}

static int listen_on(const char *address, const char *port)
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_port = htons((unsigned short)strtoul(port, NULL, 10)) };
	int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (listener < 0 || inet_pton(AF_INET, address, &name.sin_addr) != 1)
		return -1;
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* accepted sockets inherit it */
	if (bind(listener, (struct sockaddr *)&name, sizeof(name)) < 0 || listen(listener, CONNECTIONS_MAX) < 0)
		return -1;
	return listener;
}

static int ring_init(void)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
		.cq_entries = 4 * CONNECTIONS_MAX,
	};
	int err = io_uring_queue_init_params(CONNECTIONS_MAX, &ring, &params);

	if (!err)
		err = io_uring_register_files_sparse(&ring, CONNECTIONS_MAX);
	if (err)
		return err;
	io_uring_register_ring_fd(&ring);
	memory = malloc((size_t)BUFFERS * BUFFER_BYTES);
	buffers = io_uring_setup_buf_ring(&ring, BUFFERS, 0, 0, &err);
	if (!buffers || !memory)
		return -ENOMEM;
	for (unsigned int i = 0; i < BUFFERS; i++)
		give_back(i);
	return 0;
}

int main(int argc, char **argv)
{
	int listener = argc == 3 ? listen_on(argv[1], argv[2]) : -1;
	struct io_uring_cqe *cqe;
	unsigned int head, count;

	if (listener < 0 || ring_init() < 0) {
		fprintf(stderr, "usage: uring_echo ADDRESS PORT (%s)\n", strerror(errno));
		return EXIT_FAILURE;
	}
	arm_accept(listener);
	for (;;) {
		io_uring_submit_and_wait(&ring, 1);
		count = 0;
		io_uring_for_each_cqe(&ring, head, cqe) {
			on_completion(cqe);
			count++;
		}
		io_uring_cq_advance(&ring, count);
	}
}
