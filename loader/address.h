/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where the agent's HTTP server listens, as a person writes it. */
#ifndef VG_LOADER_ADDRESS_H
#define VG_LOADER_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

/* "127.0.0.1:9464", "[::1]:9464". 0 or -EINVAL. Pure. */
int vg_admin_address_parse(const char *text, struct sockaddr_storage *ret_address);
bool vg_admin_address_is_loopback(const struct sockaddr_storage *address);

#endif
