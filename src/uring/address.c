/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "uring/listen.h"

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
