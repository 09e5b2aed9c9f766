/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include "node/neighbours.h"

/* An address, IPv4 or IPv6, as rtnetlink carries it. */
struct hop {
	__u8 family;
	__u8 bytes[16];
	__u32 ifindex;
};

/* A request of one header, one family message and one attribute; and room for an answer. */
union message {
	struct nlmsghdr header;
	char bytes[4096];
};

static __u32 address_bytes(__u8 family)
{
	return family == AF_INET ? 4 : 16;
}

static void add_attribute(union message *message, __u16 type, const void *data, __u32 bytes)
{
	struct rtattr *attribute = (struct rtattr *)(message->bytes + NLMSG_ALIGN(message->header.nlmsg_len));

	attribute->rta_type = type;
	attribute->rta_len = (unsigned short)RTA_LENGTH(bytes);
	memcpy(RTA_DATA(attribute), data, bytes);
	message->header.nlmsg_len = NLMSG_ALIGN(message->header.nlmsg_len) + RTA_ALIGN(RTA_LENGTH(bytes));
}

/* Send the request and receive its one answer into the same memory. */
static int ask(int fd, union message *message)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	ssize_t length;

	message->header.nlmsg_flags = NLM_F_REQUEST;
	if (sendto(fd, message, message->header.nlmsg_len, 0, (const struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		return -errno;
	length = recv(fd, message, sizeof(*message), 0);
	if (length < 0)
		return -errno;
	if (!NLMSG_OK(&message->header, (__u32)length))
		return -EPROTO;
	if (message->header.nlmsg_type == NLMSG_ERROR)
		return ((struct nlmsgerr *)NLMSG_DATA(&message->header))->error ?: -ENOENT;
	return 0;
}

/* An attribute of the answer behind a family header of so many bytes; NULL if it is not there or too short. */
static const void *find_attribute(const union message *message, __u32 family_bytes, __u16 type, __u32 bytes)
{
	const struct rtattr *attribute =
		(const struct rtattr *)((const char *)NLMSG_DATA(&message->header) + NLMSG_ALIGN(family_bytes));
	int left = (int)NLMSG_PAYLOAD(&message->header, family_bytes);

	for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left))
		if (attribute->rta_type == type && RTA_PAYLOAD(attribute) >= bytes)
			return RTA_DATA(attribute);
	return NULL;
}

/* Where a packet to `hop` goes: its interface is filled in, and a gateway takes the address's place. */
static int find_route(int fd, struct hop *hop)
{
	union message message = { .header = { .nlmsg_len = NLMSG_LENGTH(sizeof(struct rtmsg)),
					      .nlmsg_type = RTM_GETROUTE } };
	struct rtmsg *route = NLMSG_DATA(&message.header);
	const void *found;
	int error;

	route->rtm_family = hop->family;
	route->rtm_dst_len = (__u8)(8 * address_bytes(hop->family));
	add_attribute(&message, RTA_DST, hop->bytes, address_bytes(hop->family));
	error = ask(fd, &message);
	if (error)
		return error;
	found = find_attribute(&message, sizeof(struct rtmsg), RTA_OIF, 4);
	if (!found)
		return -ENETUNREACH;
	memcpy(&hop->ifindex, found, 4);
	found = find_attribute(&message, sizeof(struct rtmsg), RTA_GATEWAY, address_bytes(hop->family));
	if (found)
		memcpy(hop->bytes, found, address_bytes(hop->family));
	return 0;
}

static int find_link_address(int fd, const struct hop *hop, __u8 ret_mac[6])
{
	union message message = { .header = { .nlmsg_len = NLMSG_LENGTH(sizeof(struct ndmsg)),
					      .nlmsg_type = RTM_GETNEIGH } };
	struct ndmsg *neighbour = NLMSG_DATA(&message.header);
	const void *found;
	int error;

	neighbour->ndm_family = hop->family;
	neighbour->ndm_ifindex = (int)hop->ifindex;
	add_attribute(&message, NDA_DST, hop->bytes, address_bytes(hop->family));
	error = ask(fd, &message);
	if (error)
		return error;
	found = find_attribute(&message, sizeof(struct ndmsg), NDA_LLADDR, 6);
	if (!found || !(neighbour->ndm_state & (NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT)))
		return -ENOENT;
	memcpy(ret_mac, found, 6);
	return 0;
}

static void hop_of(const struct vg_cluster_node *node, struct hop *ret_hop)
{
	*ret_hop = (struct hop){ .family = (__u8)node->address.ss_family };
	if (ret_hop->family == AF_INET)
		memcpy(ret_hop->bytes, &((const struct sockaddr_in *)&node->address)->sin_addr, 4);
	else
		memcpy(ret_hop->bytes, &((const struct sockaddr_in6 *)&node->address)->sin6_addr, 16);
}

int vg_neighbours_refresh(struct vg_bpfmaps *maps, const struct vg_cluster *cluster)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct timeval patience = { .tv_sec = 1 };

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	for (int i = 0; i < cluster->nodes; i++) {
		struct vg_node *entry = &maps->node[i];
		struct hop hop;
		__u8 mac[6];

		hop_of(&cluster->node[i], &hop);
		if (i == cluster->self || find_route(fd, &hop) || find_link_address(fd, &hop, mac))
			continue;
		memcpy(entry->mac, mac, sizeof(mac));
		entry->ifindex = hop.ifindex;
		/* Release: a program that sees the flag sees the address. */
		__atomic_fetch_or(&entry->flags, VG_NODE_HAS_MAC, __ATOMIC_RELEASE);
	}
	close(fd);
	return 0;
}
