// SPDX-License-Identifier: GPL-3.0-or-later
#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/number.h"

int vg_admin_address_parse(const char *text, struct sockaddr_storage *ret_address)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret_address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret_address;
	const char *colon = strrchr(text, ':');
	bool bracket = text[0] == '[' && colon && colon > text + 1 && colon[-1] == ']';
	size_t length = colon ? (size_t)(colon - text) - (bracket ? 2 : 0) : 0;
	char address[INET6_ADDRSTRLEN];
	__u64 port;

	if (!length || length >= sizeof(address) || vg_number_parse(colon + 1, 65535, &port))
		return -EINVAL;
	memcpy(address, text + bracket, length);
	address[length] = '\0';
	memset(ret_address, 0, sizeof(*ret_address));
	if (!bracket && inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		return 0;
	}
	if (bracket && inet_pton(AF_INET6, address, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
		return 0;
	}
	return -EINVAL;
}

bool vg_admin_address_is_loopback(const struct sockaddr_storage *address)
{
	if (address->ss_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
	return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
}
