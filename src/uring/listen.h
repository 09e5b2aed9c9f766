/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Sockets to listen on (listen.c; sim_net.c has its own), and addresses as text (address.c): "1.2.3.4:30000",
 * "[2001:db8::1]:30000". Names are not looked up.
 */
#ifndef VG_URING_LISTEN_H
#define VG_URING_LISTEN_H

#include <stddef.h>
#include <sys/socket.h>

#define VG_ADDRESS_TEXT_BYTES 64 /* "[" + 45 characters of IPv6 + "%" + interface + "]:65535", and the 0 */

/* 0, or -EINVAL when it is not an address and a port. */
int vg_address_parse(const char *text, struct sockaddr_storage *ret_address, socklen_t *ret_length);
/* Always writes a text; "?" for what is not IPv4 or IPv6. An IPv4 address mapped into IPv6 is written as IPv4. */
void vg_address_format(const struct sockaddr *address, char *text, size_t bytes);

/*
 * Listening sockets, close-on-exec; each worker opens its own on the same address (SO_REUSEPORT) and the kernel spreads
 * connections and senders over them. Returns a descriptor or a negative errno. An IPv6 socket takes IPv6 only.
 */
int vg_listen_tcp(const char *address); /* accepted connections send without delay */
int vg_listen_udp(const char *address);

#endif
