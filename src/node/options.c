/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reading flags, config file, node list and key file into one checked struct vg_options. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ini.h>

#include "base/log.h"
#include "base/number.h"
#include "node/options.h"

/* Fills `why` and passes the error on. */
__attribute__((format(printf, 4, 5))) static int explain(char *why, size_t why_bytes, int error, const char *format,
							 ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(why, why_bytes, format, arguments);
	va_end(arguments);
	return error;
}

static int set_value(struct vg_options *options, const struct vg_option *option, const char *value, char *why,
		     size_t why_bytes)
{
	int error = option->parse((char *)options + option->offset, value);

	if (error == -ERANGE)
		return explain(why, why_bytes, error, "%s: '%s' is out of range", option->name, value);
	if (error)
		return explain(why, why_bytes, error, "%s: '%s' is not a valid value (%s)", option->name, value,
			       option->argument ? option->argument : "yes|no");
	return 0;
}

int vg_options_set(struct vg_options_text *text, int key, const char *value, char *why, size_t why_bytes)
{
	text->given |= 1ULL << key;
	return set_value(&text->values, &vg_option_table[key], value ? value : "yes", why, why_bytes);
}

struct reading {
	struct vg_options_text *text;
	const char *path;
	char *why;
	size_t why_bytes;
	int error;
};

/* inih's handler: 1 goes on, 0 marks the line as wrong. */
static int on_line(void *user, const char *section, const char *name, const char *value)
{
	struct reading *reading = user;

	if (reading->error)
		return 0;
	for (int key = 0; key < vg_option_count; key++) {
		if (strcmp(vg_option_table[key].name, name))
			continue;
		if (reading->text->given & 1ULL << key)
			return 1; /* a flag has said it */
		reading->error = set_value(&reading->text->values, &vg_option_table[key], value, reading->why,
					   reading->why_bytes);
		return reading->error == 0;
	}
	reading->error = explain(reading->why, reading->why_bytes, -EINVAL, "%s: unknown key '%s'%s%s", reading->path,
				 name, section[0] ? " in section " : "", section);
	return 0;
}

int vg_options_read(struct vg_options_text *text, const char *path, char *why, size_t why_bytes)
{
	struct reading reading = { .text = text, .path = path, .why = why, .why_bytes = why_bytes };
	int line;

	if (access(path, R_OK))
		return explain(why, why_bytes, -errno, "cannot read %s: %s", path, strerror(errno));
	line = ini_parse(path, on_line, &reading);
	if (reading.error)
		return reading.error;
	if (line)
		return explain(why, why_bytes, -EINVAL, "%s:%d: not 'key = value'", path, line);
	return 0;
}

int vg_address_split(const char *text, char *ret_address, size_t address_bytes, __u16 *ret_port)
{
	const char *start = text, *end, *port;
	__u64 number;

	if (*text == '[') {
		start = text + 1;
		end = strchr(start, ']');
		if (!end || (end[1] && end[1] != ':'))
			return -EINVAL;
		port = end[1] ? end + 2 : NULL;
	} else {
		end = strchr(start, ':');
		if (end && strchr(end + 1, ':'))
			end = NULL; /* a bare IPv6 address */
		port = end ? end + 1 : NULL;
		if (!end)
			end = start + strlen(start);
	}
	if (end == start || (size_t)(end - start) >= address_bytes)
		return -EINVAL;
	if (port) {
		if (vg_number_parse(port, 65535, &number))
			return -EINVAL;
		*ret_port = (__u16)number;
	}
	memcpy(ret_address, start, (size_t)(end - start));
	ret_address[end - start] = '\0';
	return 0;
}

bool vg_address_has_port(const char *text)
{
	char address[VG_OPTION_TEXT_MAX];
	__u16 port = 0, other = 1;

	/* A port that is named overwrites both. */
	return !vg_address_split(text, address, sizeof(address), &port) &&
	       !vg_address_split(text, address, sizeof(address), &other) && port == other;
}

void vg_address_strip_port(char *text)
{
	char address[VG_OPTION_TEXT_MAX];
	__u16 port;

	if (!vg_address_split(text, address, sizeof(address), &port))
		memcpy(text, address, strlen(address) + 1);
}

bool vg_address_is_loopback(const char *address)
{
	struct in6_addr six;
	struct in_addr four;

	if (inet_pton(AF_INET, address, &four) == 1)
		return ntohl(four.s_addr) >> 24 == 127;
	return inet_pton(AF_INET6, address, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}

/* A whole small file as text, without white space at its end. */
static int read_small_file(const char *path, char *buffer, size_t bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length;

	if (fd < 0)
		return -errno;
	length = read(fd, buffer, bytes - 1);
	if (length < 0)
		length = -errno;
	close(fd);
	if (length < 0)
		return (int)length;
	if ((size_t)length == bytes - 1)
		return -EFBIG;
	while (length && strchr(" \t\r\n", buffer[length - 1]))
		length--;
	buffer[length] = '\0';
	return 0;
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

static int read_key(struct vg_options *options, char *why, size_t why_bytes)
{
	char text[256];
	struct stat status;
	int error = read_small_file(options->key_file, text, sizeof(text));

	if (error)
		return explain(why, why_bytes, error, "key-file %s: %s", options->key_file, strerror(-error));
	if (stat(options->key_file, &status) == 0 && status.st_mode & 077)
		vg_log(VG_LOG_WARNING, "key file is readable by others", "path=%s mode=%03o", options->key_file,
		       status.st_mode & 0777);
	if (strlen(text) != 32)
		return explain(why, why_bytes, -EINVAL, "key-file %s: not 32 hex digits", options->key_file);
	options->cluster_key[0] = options->cluster_key[1] = 0;
	for (int i = 0; i < 32; i++) {
		int digit = hex_digit(text[i]);

		if (digit < 0)
			return explain(why, why_bytes, -EINVAL, "key-file %s: not 32 hex digits", options->key_file);
		options->cluster_key[i / 16] = options->cluster_key[i / 16] << 4 | (__u64)digit;
	}
	options->keyed = true;
	/* Whoever has the key may also use the faces that know only passwords. */
	if (!options->password[0])
		memcpy(options->password, text, 33);
	return 0;
}

static int read_cloud_file(struct vg_options *options, char *why, size_t why_bytes)
{
	const char *path = options->cloud_file[0] ? options->cloud_file : VG_CLOUD_FILE_DEFAULT;
	int error = read_small_file(path, options->nodes, sizeof(options->nodes));

	if (!error)
		return 0;
	options->nodes[0] = '\0';
	if (error == -ENOENT && !options->cloud_file[0])
		return 0;
	return explain(why, why_bytes, error, "cloud-conf %s: %s", path, strerror(-error));
}

/*
 * Whoever reaches the CPU pool runs programs here: beyond loopback only with a cluster key. A port that nobody asked
 * for stays closed then; one that was asked for is an error.
 */
static int finish_cpu_port(struct vg_options *options, bool loopback, char *why, size_t why_bytes)
{
	__u64 *port = &options->port[VG_DOOR_CPU];

	if (*port == VG_PORT_UNSAID)
		*port = vg_address_has_port(options->listen) || (!loopback && !options->keyed) ? 0 : VG_PORT_CPU;
	else if (*port && !loopback && !options->keyed)
		return explain(why, why_bytes, -EPERM,
			       "refusing to open the CPU pool beyond loopback without a cluster key: set key-file");
	return 0;
}

/*
 * Without a directory there is no file pool; where the memory pool alone is meant it is opened if its port is named.
 * Whoever reaches it reads and writes that directory, and binary clients give no password.
 */
static int finish_file_port(struct vg_options *options, bool loopback, char *why, size_t why_bytes)
{
	__u64 *port = &options->port[VG_DOOR_FILE];
	bool asked = *port != VG_PORT_UNSAID;

	if (!asked)
		*port = !options->file_root[0] || vg_address_has_port(options->listen) ? 0 : VG_PORT_FILE;
	if (asked && *port && !options->file_root[0])
		return explain(why, why_bytes, -EINVAL,
			       "file-port needs file-root, the directory that is to be shared");
	if (*port && !loopback && !options->keyed && !options->insecure)
		return explain(why, why_bytes, -EPERM,
			       "refusing to open the file pool beyond loopback without a cluster key: set key-file");
	return 0;
}

int vg_options_finish(struct vg_options *options, char *why, size_t why_bytes)
{
	char address[64];
	__u16 port = 0;
	int error = 0;

	if (options->key_file[0])
		error = read_key(options, why, why_bytes);
	if (!error && !options->nodes[0])
		error = read_cloud_file(options, why, why_bytes);
	if (error)
		return error;
	if (vg_address_split(options->listen, address, sizeof(address), &port))
		return explain(why, why_bytes, -EINVAL, "listen: '%s' is not an address", options->listen);
	if (!vg_address_is_loopback(address) && !options->keyed && !options->password[0] && !options->insecure)
		return explain(
			why, why_bytes, -EPERM,
			"refusing to listen on %s without a key or password: set key-file or password, or say insecure",
			address);
	return finish_file_port(options, vg_address_is_loopback(address), why, why_bytes) ?:
	       finish_cpu_port(options, vg_address_is_loopback(address), why, why_bytes);
}
