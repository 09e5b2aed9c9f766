/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "uring/listen.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#define BACKLOG 1024
#define DATAGRAM_QUEUE_BYTES (4 << 20) /* a burst of some thousand requests while the worker is elsewhere */

static int listen_on(const char *text, int type)
{
	static const int one = 1, queue_bytes = DATAGRAM_QUEUE_BYTES;
	struct sockaddr_storage address;
	socklen_t length;
	int error, fd;

	error = vg_address_parse(text, &address, &length);
	if (error)
		return error;
	fd = socket(address.ss_family, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) ||
	    (address.ss_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one))))
		goto fail;
	if (type == SOCK_STREAM) {
		/* Accepted sockets inherit TCP_NODELAY. */
		if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
		    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
			goto fail;
	} else {
		/* Bounded by net.core.*mem_max for the unprivileged: then a smaller queue, which is no error. */
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &queue_bytes, sizeof(queue_bytes));
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &queue_bytes, sizeof(queue_bytes));
	}
	if (bind(fd, (struct sockaddr *)&address, length) || (type == SOCK_STREAM && listen(fd, BACKLOG)))
		goto fail;
	return fd;
fail:
	error = -errno;
	close(fd);
	return error;
}

int vg_listen_tcp(const char *address)
{
	return listen_on(address, SOCK_STREAM);
}

int vg_listen_udp(const char *address)
{
	return listen_on(address, SOCK_DGRAM);
}
