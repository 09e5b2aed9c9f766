/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Real nodes for the tests of the client: virgod of this build, on loopback addresses, each with a directory. */
#ifndef VG_TESTS_REAL_NODE_H
#define VG_TESTS_REAL_NODE_H

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "virgo/virgo.h"

#define REAL_NODES_MAX 3

struct real_cluster {
	char directory[64];
	char nodes[128]; /* for virgo_options.nodes */
	unsigned int count;
	uint16_t port, file_port;
	pid_t pid[REAL_NODES_MAX];
};

/* Where nobody listens on any of these addresses. */
static inline bool real_port_is_free(uint16_t port, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct sockaddr_in address = { .sin_family = AF_INET,
					       .sin_addr.s_addr = htonl(INADDR_LOOPBACK + i),
					       .sin_port = htons(port) };
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		bool is_free = bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;

		(void)close(fd);
		if (!is_free)
			return false;
	}
	return true;
}

static inline bool real_answers(const struct real_cluster *cluster, unsigned int node)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK + node),
				       .sin_port = htons(cluster->file_port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool answers = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;

	(void)close(fd);
	return answers;
}

static inline void real_run_node(struct real_cluster *cluster, unsigned int node)
{
	char program[512], root[96], listening[32], port[16], log[96], nodes[160];
	ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 32);
	const char *arguments[32] = { program, "--bpf", "off", "--arena-size", "16m", "--heap-size", "64m", "--workers", "1",
				      "--listen", listening, "--file-root", root, "--file-port", port };
	size_t filled = 0;
	int count = 15, fd;

	assert(length > 0);
	program[length] = '\0';
	*strstr(program, "/tests/unit/") = '\0';
	(void)strcat(program, "/virgod");
	(void)snprintf(root, sizeof(root), "%s/%u", cluster->directory, node);
	(void)snprintf(log, sizeof(log), "%s/log", cluster->directory);
	(void)snprintf(listening, sizeof(listening), "127.0.0.%u:%u", 1 + node, cluster->port);
	(void)snprintf(port, sizeof(port), "%u", cluster->file_port);
	for (unsigned int i = 0; i < cluster->count; i++)
		filled += (size_t)snprintf(nodes + filled, sizeof(nodes) - filled, "%s127.0.0.%u:%u/0/%u",
					   i ? "," : "", 1 + i, cluster->port, cluster->file_port);
	if (cluster->count > 1) {
		arguments[count++] = "--nodes";
		arguments[count++] = nodes;
	}
	(void)mkdir(root, 0700);
	cluster->pid[node] = fork();
	assert(cluster->pid[node] >= 0);
	if (cluster->pid[node])
		return;
	fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	(void)dup2(fd, 1);
	(void)dup2(fd, 2);
	(void)execv(program, (char *const *)arguments);
	_exit(127);
}

static inline void real_wait_node(struct real_cluster *cluster, unsigned int node)
{
	for (int i = 0; i < 3000 && !real_answers(cluster, node); i++) {
		int status;

		if (waitpid(cluster->pid[node], &status, WNOHANG) != 0) {
			char command[128];

			(void)snprintf(command, sizeof(command), "sed 's/^/# /' %s/log", cluster->directory);
			(void)!system(command);
			assert(!"virgod did not start");
		}
		(void)usleep(10000);
	}
}

static inline struct virgo *real_client(const struct real_cluster *cluster, unsigned int timeout_ms,
					struct virgo *share)
{
	struct virgo_options options = { .size = sizeof(options),
					 .nodes = cluster->nodes,
					 .file_port = cluster->file_port,
					 .timeout_ms = timeout_ms,
					 .key_file = "",
					 .share = share };
	struct virgo *v;
	char why[128];

	assert(virgo_connect(&v, &options, why, sizeof(why)) == 0);
	return v;
}

/*
 * Nodes that found each other silent when they started rest before they try again: until all answer all. Removing a
 * directory asks every node, whoever carries it out.
 */
static inline void real_settle(const struct real_cluster *cluster)
{
	struct virgo *v = cluster->count > 1 ? real_client(cluster, 5000, NULL) : NULL;
	int settled = 0;
	char path[32];

	for (int i = 0; v && i < 2000 && settled < 40; i++) {
		(void)snprintf(path, sizeof(path), "settle%d", i);
		settled = !virgo_mkdir(v, path, 0755) && !virgo_rmdir(v, path) ? settled + 1 : 0;
		if (!settled)
			(void)usleep(20000);
	}
	assert(!v || settled == 40);
	virgo_disconnect(v);
}

static inline struct real_cluster *real_start(unsigned int count)
{
	struct real_cluster *cluster = calloc(1, sizeof(*cluster));
	uint16_t port = (uint16_t)(20000 + getpid() * 7 % 20000);
	size_t length = 0;

	assert(cluster && count <= REAL_NODES_MAX);
	(void)snprintf(cluster->directory, sizeof(cluster->directory), "/tmp/virgo-test-XXXXXX");
	assert(mkdtemp(cluster->directory));
	cluster->count = count;
	while (!real_port_is_free(port, count) || !real_port_is_free((uint16_t)(port + 1), count))
		port = (uint16_t)(port + 2);
	cluster->port = port;
	cluster->file_port = (uint16_t)(port + 1);
	for (unsigned int i = 0; i < count; i++)
		length += (size_t)snprintf(cluster->nodes + length, sizeof(cluster->nodes) - length, "%s127.0.0.%u:%u",
					   i ? "," : "", 1 + i, port);
	for (unsigned int i = 0; i < count; i++)
		real_run_node(cluster, i);
	for (unsigned int i = 0; i < count; i++)
		real_wait_node(cluster, i);
	real_settle(cluster);
	return cluster;
}

static inline void real_kill_node(struct real_cluster *cluster, unsigned int node, int signal)
{
	(void)kill(cluster->pid[node], signal);
	(void)waitpid(cluster->pid[node], NULL, 0);
	cluster->pid[node] = 0;
}

static inline void real_restart_node(struct real_cluster *cluster, unsigned int node)
{
	real_run_node(cluster, node);
	real_wait_node(cluster, node);
	real_settle(cluster);
}

static inline void real_stop(struct real_cluster *cluster)
{
	char command[128];

	for (unsigned int i = 0; i < cluster->count; i++)
		if (cluster->pid[i])
			real_kill_node(cluster, i, SIGTERM);
	(void)snprintf(command, sizeof(command), "rm -rf %s", cluster->directory);
	(void)!system(command);
	free(cluster);
}

#endif
