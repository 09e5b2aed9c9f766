/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a client is told: node lists in the original's one-line syntax, and the cluster key. */
#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"

int vg_explain(char *why, size_t why_bytes, int error, const char *format, ...)
{
	va_list arguments;

	if (why && why_bytes) {
		va_start(arguments, format);
		(void)vsnprintf(why, why_bytes, format, arguments);
		va_end(arguments);
	}
	return error;
}

/* Split "host", "host:port", "[v6]", "[v6]:port" or a bare IPv6 address in place. */
static int split_node(char *node, char **ret_host, char **ret_port)
{
	char *colon;

	*ret_port = NULL;
	if (node[0] == '[') {
		char *close = strchr(node, ']');

		if (!close || (close[1] && close[1] != ':'))
			return -EINVAL;
		*close = '\0';
		*ret_host = node + 1;
		*ret_port = close[1] ? close + 2 : NULL;
		return 0;
	}
	*ret_host = node;
	colon = strchr(node, ':');
	if (colon && !strchr(colon + 1, ':')) {
		*colon = '\0';
		*ret_port = colon + 1;
	}
	return 0;
}

static int parse_port(const char *text, __u16 *ret_port)
{
	char *end;
	unsigned long port = strtoul(text, &end, 10);

	if (text[0] < '0' || text[0] > '9' || *end || port == 0 || port > 65535)
		return -EINVAL;
	*ret_port = (__u16)port;
	return 0;
}

int vg_node_resolve(const char *node, __u16 port, union vg_address *ret_address, socklen_t *ret_length)
{
	struct addrinfo hints = { .ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV }, *found = NULL;
	char copy[256], service[8], *host, *port_text;

	if (snprintf(copy, sizeof(copy), "%s", node) >= (int)sizeof(copy) || split_node(copy, &host, &port_text) ||
	    !host[0] || (port_text && parse_port(port_text, &port)))
		return -EADDRNOTAVAIL;
	(void)snprintf(service, sizeof(service), "%u", port);
	if (getaddrinfo(host, service, &hints, &found))
		return -EADDRNOTAVAIL;
	if (found->ai_addrlen > sizeof(*ret_address)) {
		freeaddrinfo(found);
		return -EADDRNOTAVAIL;
	}
	*ret_address = (union vg_address){ 0 };
	memcpy(ret_address, found->ai_addr, found->ai_addrlen);
	*ret_length = found->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

static int add_node(struct virgo *v, char *node, __u16 port, char *why, size_t why_bytes)
{
	struct addrinfo hints = { .ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV }, *found = NULL;
	union vg_address address = { 0 };
	char whole[256], service[8], *host, *port_text;
	struct vg_peer *peer;
	int error;

	(void)snprintf(whole, sizeof(whole), "%s", node);
	if (split_node(node, &host, &port_text) || !host[0] || (port_text && parse_port(port_text, &port)))
		return vg_explain(why, why_bytes, -EINVAL, "node address \"%s\": want HOST or HOST:PORT", whole);
	(void)snprintf(service, sizeof(service), "%u", port);
	error = getaddrinfo(host, service, &hints, &found);
	if (error)
		return vg_explain(why, why_bytes, -EADDRNOTAVAIL, "node address \"%s\": %s", whole,
				  gai_strerror(error));
	if (found->ai_addrlen > sizeof(address)) {
		freeaddrinfo(found);
		return vg_explain(why, why_bytes, -EADDRNOTAVAIL, "node address \"%s\": of an unknown family", whole);
	}
	memcpy(&address, found->ai_addr, found->ai_addrlen);
	error = vg_peer_add(v, &address, found->ai_addrlen, &peer);
	freeaddrinfo(found);
	return error;
}

int vg_nodes_parse(struct virgo *v, const char *nodes, __u16 port, char *why, size_t why_bytes)
{
	char *copy = strdup(nodes), *next = copy, *node;
	int error = copy ? 0 : -ENOMEM;

	while (!error && (node = strsep(&next, ","))) {
		node += strspn(node, " \t");
		node[strcspn(node, " \t\r\n")] = '\0';
		if (!node[0])
			continue;
		if (v->peers_count == VG_CLIENT_NODES_MAX)
			error = vg_explain(why, why_bytes, -EINVAL, "more than %d nodes", VG_CLIENT_NODES_MAX);
		else
			error = add_node(v, node, port, why, why_bytes);
	}
	if (!error && !v->peers_count)
		error = vg_explain(why, why_bytes, -EINVAL, "the list of nodes is empty");
	free(copy);
	return error;
}

/* The first line of the original's file, or loopback where there is no such file. */
int vg_nodes_default(char *text, size_t text_bytes)
{
	const char *environment = getenv("VIRGO_NODES");
	FILE *file;

	if (environment && environment[0])
		return snprintf(text, text_bytes, "%s", environment) < (int)text_bytes ? 0 : -EINVAL;
	file = fopen(VG_CLIENT_CONF_FILE, "re");
	if (!file || !fgets(text, (int)text_bytes, file) || !text[strspn(text, " \t\r\n")])
		(void)snprintf(text, text_bytes, "127.0.0.1");
	if (file)
		(void)fclose(file);
	return 0;
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

int vg_key_file_read(const char *path, __u64 ret_key[2], char *why, size_t why_bytes)
{
	char text[64] = "";
	__u64 key[2] = { 0, 0 };
	FILE *file = fopen(path, "re");
	int error = file ? 0 : -errno, digits = 0;

	if (error)
		return vg_explain(why, why_bytes, error, "key file %s: %s", path, strerror(-error));
	if (!fgets(text, sizeof(text), file))
		text[0] = '\0';
	(void)fclose(file);
	for (; digits < 32 && hex_digit(text[digits]) >= 0; digits++)
		key[digits / 16] = key[digits / 16] << 4 | (__u64)hex_digit(text[digits]);
	error = digits == 32 && !text[digits + strspn(text + digits, " \t\r\n")] ? 0 : -EINVAL;
	explicit_bzero(text, sizeof(text));
	if (error)
		return vg_explain(why, why_bytes, error, "key file %s: not 32 hex digits", path);
	ret_key[0] = key[0];
	ret_key[1] = key[1];
	return 0;
}
