// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * What a UDP server on sockets can do at best: recvmmsg, sendmmsg, nothing between. Answers come from the address that
 * was asked, as long as the machine has one a subnet. Usage: udp_echo ADDRESS PORT
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BATCH 64
#define DATAGRAM_BYTES 2048

static char memory[BATCH][DATAGRAM_BYTES];
static struct sockaddr_in senders[BATCH];
static struct iovec vectors[BATCH];
static struct mmsghdr messages[BATCH];

static int bind_on(const char *address, const char *port)
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_port = htons((unsigned short)strtoul(port, NULL, 10)) };
	int bytes = 4 << 20, socket_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (socket_fd < 0 || inet_pton(AF_INET, address, &name.sin_addr) != 1)
		return -1;
	setsockopt(socket_fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	return bind(socket_fd, (struct sockaddr *)&name, sizeof(name)) < 0 ? -1 : socket_fd;
}

static void ready_to_receive(void)
{
	for (int i = 0; i < BATCH; i++) {
		vectors[i] = (struct iovec){ .iov_base = memory[i], .iov_len = DATAGRAM_BYTES };
		messages[i].msg_hdr = (struct msghdr){ .msg_name = &senders[i], .msg_namelen = sizeof(senders[i]),
						       .msg_iov = &vectors[i], .msg_iovlen = 1 };
	}
}

int main(int argc, char **argv)
{
	int socket_fd = argc == 3 ? bind_on(argv[1], argv[2]) : -1;

	if (socket_fd < 0) {
		fprintf(stderr, "usage: udp_echo ADDRESS PORT (%s)\n", strerror(errno));
		return EXIT_FAILURE;
	}
	for (;;) {
		int count;

		ready_to_receive();
		count = recvmmsg(socket_fd, messages, BATCH, MSG_WAITFORONE, NULL);
		for (int i = 0; i < count; i++)
			vectors[i].iov_len = messages[i].msg_len;
		for (int sent = 0, now; sent < count; sent += now) {
			now = sendmmsg(socket_fd, messages + sent, (unsigned int)(count - sent), 0);
			if (now <= 0)
				break; /* no route back: UDP may lose it */
		}
	}
}
