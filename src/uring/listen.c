/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "uring/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static int parse_port(const char *text, in_port_t *ret_port)
{
	unsigned int port = 0;

	if (!*text || strlen(text) > 5)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		port = port * 10 + (*text - '0');
	}
	if (port > 65535)
		return -EINVAL;
	*ret_port = htons(port);
	return 0;
}

/* "fe80::1%eth0": the scope is an interface's name. */
static int parse_v6(char *host, struct sockaddr_in6 *v6)
{
	char *scope = strchr(host, '%');

	if (scope) {
		*scope++ = 0;
		v6->sin6_scope_id = if_nametoindex(scope);
		if (!v6->sin6_scope_id)
			return -EINVAL;
	}
	v6->sin6_family = AF_INET6;
	return inet_pton(AF_INET6, host, &v6->sin6_addr) == 1 ? 0 : -EINVAL;
}

int vg_address_parse(const char *text, struct sockaddr_storage *ret_address, socklen_t *ret_length)
{
	struct sockaddr_storage address = { 0 };
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
	struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
	const char *colon = strrchr(text, ':');
	char host[VG_ADDRESS_TEXT_BYTES];
	bool bracketed = *text == '[';
	size_t length;

	if (!colon)
		return -EINVAL;
	length = colon - text;
	if (bracketed && (length < 2 || text[length - 1] != ']'))
		return -EINVAL;
	text += bracketed;
	length -= bracketed ? 2 : 0;
	if (length >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, length);
	host[length] = 0;
	if (bracketed) {
		if (parse_v6(host, v6) || parse_port(colon + 1, &v6->sin6_port))
			return -EINVAL;
	} else {
		v4->sin_family = AF_INET;
		if (inet_pton(AF_INET, host, &v4->sin_addr) != 1 || parse_port(colon + 1, &v4->sin_port))
			return -EINVAL;
	}
	*ret_length = bracketed ? sizeof(*v6) : sizeof(*v4);
	*ret_address = address;
	return 0;
}

void vg_address_format(const struct sockaddr *address, char *text, size_t bytes)
{
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
	char host[INET6_ADDRSTRLEN];

	if (address->sa_family == AF_INET) {
		inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
		snprintf(text, bytes, "%s:%u", host, ntohs(v4->sin_port));
	} else if (address->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
		inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], host, sizeof(host));
		snprintf(text, bytes, "%s:%u", host, ntohs(v6->sin6_port));
	} else if (address->sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
		snprintf(text, bytes, "[%s]:%u", host, ntohs(v6->sin6_port));
	} else {
		snprintf(text, bytes, "?");
	}
}
