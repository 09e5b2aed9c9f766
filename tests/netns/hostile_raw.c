/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Hostile frames, made by hand below IP, where a socket would not let them through.
 *
 *   hostile_raw ADDRESS KEY|- INTERFACE SOURCE NODE_MAC
 *
 * Each frame carries an honest question for the known key, with something wrong around it. What the node does with most
 * of them is its kernel's business; it must live, count (the script looks), serve, and answer nobody at greater length.
 */
#include "hostile.h"

#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <sys/ioctl.h>

#define PORT 40404

struct frame {
	__u8 before[2]; /* so that what is behind an Ethernet header is aligned */
	__u8 bytes[2046];
	size_t length, ip_at, udp_at;
};

static int raw;	  /* sends frames */
static int heard; /* an ordinary socket on the port that the frames say they come from */
static struct sockaddr_ll link_address;
static __u8 own_mac[6], node_mac[6];
static __u32 source;

static __u16 checksum(const __u8 *data, size_t bytes)
{
	__u32 sum = 0;

	for (size_t i = 0; i + 1 < bytes; i += 2)
		sum += (__u32)data[i] << 8 | data[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((__u16)~sum);
}

static void put16(struct frame *frame, __u16 value)
{
	frame->bytes[frame->length++] = (__u8)(value >> 8);
	frame->bytes[frame->length++] = (__u8)value;
}

static void put_link(struct frame *frame, int tags, __u16 type)
{
	memset(frame, 0, sizeof(*frame));
	memcpy(frame->bytes, node_mac, 6);
	memcpy(frame->bytes + 6, own_mac, 6);
	frame->length = 12;
	for (int i = 0; i < tags; i++) {
		put16(frame, i ? 0x8100 : 0x88a8);
		put16(frame, (__u16)(i + 1));
	}
	put16(frame, type);
	frame->ip_at = frame->length;
}

static struct iphdr *ip_of(struct frame *frame)
{
	return (struct iphdr *)(frame->bytes + frame->ip_at);
}

static struct udphdr *udp_of(struct frame *frame)
{
	return (struct udphdr *)(frame->bytes + frame->udp_at);
}

static void ip_seal(struct frame *frame)
{
	ip_of(frame)->check = 0;
	ip_of(frame)->check = checksum(frame->bytes + frame->ip_at, 4U * ip_of(frame)->ihl);
}

/* An honest question in an honest frame. */
static void frame_make(struct frame *frame, int tags, unsigned int options_words)
{
	struct message message;
	size_t ip_bytes = 20 + 4 * options_words;

	message_make(&message, VG_OP_GET, target.own_key, NULL, 0);
	message.length = 240;
	message_sign(&message);
	put_link(frame, tags, ETHERTYPE_IP);
	frame->udp_at = frame->ip_at + ip_bytes;
	frame->length = frame->udp_at + sizeof(struct udphdr) + message.length;
	*ip_of(frame) = (struct iphdr){
		.version = 4,
		.ihl = (__u8)(ip_bytes / 4),
		.ttl = 64,
		.protocol = IPPROTO_UDP,
		.saddr = source,
		.daddr = target.address.sin_addr.s_addr,
		.tot_len = htons((__u16)(frame->length - frame->ip_at)),
	};
	memset(frame->bytes + frame->ip_at + 20, 1, 4 * options_words); /* no-operation options */
	*udp_of(frame) = (struct udphdr){ .source = htons(PORT),
					  .dest = target.address.sin_port,
					  .len = htons((__u16)(sizeof(struct udphdr) + message.length)) };
	memcpy(frame->bytes + frame->udp_at + sizeof(struct udphdr), message.bytes, message.length);
	ip_seal(frame);
}

static void frame_send(const struct frame *frame)
{
	/* Loss is legal below IP; what the interface does not take was not hostile enough. */
	(void)sendto(raw, frame->bytes, frame->length, 0, (struct sockaddr *)&link_address, sizeof(link_address));
}

/* Take what has come; the longest answer. Nothing is longer than the datagrams, which were all of 240 bytes. */
static size_t listen_for(int wait_ms, int *ret_count)
{
	struct pollfd wait = { .fd = heard, .events = POLLIN };
	size_t longest = 0;
	__u8 bytes[4096];

	*ret_count = 0;
	while (poll(&wait, 1, wait_ms) > 0) {
		ssize_t length = recv(heard, bytes, sizeof(bytes), 0);

		if (length > 0 && (size_t)length > longest)
			longest = (size_t)length;
		++*ret_count;
	}
	return longest;
}

static void judge(const char *name)
{
	int count;
	size_t longest = listen_for(20, &count);

	if (longest > 240)
		result(false, name, "%zu bytes for 240", longest);
	else
		result(honest_is_served(), name, "the honest client was not served");
}

/* ---- what is wrong --------------------------------------------------------------------------------------------- */

static void honest_frame(void)
{
	struct frame frame;
	int count = 0;

	for (int tries = 0; tries < 10 && !count; tries++) {
		frame_make(&frame, 0, 0);
		frame_send(&frame);
		listen_for(500, &count);
	}
	result(count, "a frame made by hand is answered", "it is not: the rest proves nothing");
}

static void link_layer(void)
{
	struct frame frame;

	for (int tags = 1; tags <= 5; tags++) {
		frame_make(&frame, tags, 0);
		frame_send(&frame);
	}
	judge("VLAN tags in stacks");
	for (size_t length = ETH_HLEN; length < 300; length++) {
		frame_make(&frame, 0, 0);
		frame.length = length;
		frame_send(&frame);
	}
	judge("frames cut off at every byte");
	for (int type = 0; type < 0x10000; type += 257) {
		frame_make(&frame, 0, 0);
		frame.bytes[12] = (__u8)(type >> 8);
		frame.bytes[13] = (__u8)type;
		frame_send(&frame);
	}
	judge("ether types of all kinds");
}

static void ip_layer(void)
{
	static const __u16 offsets[] = { 0x2000, 0x0001, 0x2001, 0x1fff, 0x3fff, 0x8000 };
	static const char *const sources[] = { "0.0.0.0",    "127.0.0.1",  "255.255.255.255", "224.0.0.1",
					       "10.77.0.10", "10.77.0.11", "10.77.0.255",     "192.0.2.1" };
	struct frame frame;

	frame_make(&frame, 0, 0);
	ip_of(&frame)->check ^= 0x0101;
	frame_send(&frame);
	judge("a wrong IP checksum");
	for (unsigned int words = 1; words <= 10; words++) {
		frame_make(&frame, 0, words);
		frame_send(&frame);
	}
	judge("IP options");
	for (unsigned int ihl = 0; ihl < 16; ihl++) {
		frame_make(&frame, 0, 0);
		ip_of(&frame)->ihl = ihl & 15;
		ip_of(&frame)->version = ihl & 1 ? 4 : 5;
		frame_send(&frame);
	}
	judge("IP header lengths that lie");
	for (int length = 0; length < 0x10000; length += 97) {
		frame_make(&frame, 0, 0);
		ip_of(&frame)->tot_len = htons((__u16)length);
		ip_seal(&frame);
		frame_send(&frame);
	}
	judge("IP lengths that lie");
	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		frame_make(&frame, 0, 0);
		ip_of(&frame)->frag_off = htons(offsets[i]);
		ip_of(&frame)->id = htons((__u16)(7 + i));
		ip_seal(&frame);
		frame_send(&frame);
	}
	judge("fragments");
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		frame_make(&frame, 0, 0);
		ip_of(&frame)->saddr = inet_addr(sources[i]);
		ip_seal(&frame);
		frame_send(&frame);
	}
	judge("sources that are not the sender");
}

static void udp_layer(void)
{
	struct frame frame;

	for (int length = 0; length < 0x10000; length += length < 400 ? 1 : 251) {
		frame_make(&frame, 0, 0);
		udp_of(&frame)->len = htons((__u16)length);
		frame_send(&frame);
	}
	judge("UDP lengths that lie");
	frame_make(&frame, 0, 0);
	udp_of(&frame)->check = 0x1234;
	frame_send(&frame);
	frame_make(&frame, 0, 0);
	udp_of(&frame)->source = 0;
	frame_send(&frame);
	frame_make(&frame, 0, 0);
	udp_of(&frame)->source = target.address.sin_port; /* the node would talk to itself, or to another node */
	ip_of(&frame)->saddr = target.address.sin_addr.s_addr;
	ip_seal(&frame);
	frame_send(&frame);
	judge("a wrong UDP checksum, port 0, the node's own port");
}

static void six(void)
{
	static const __u8 next[] = { IPPROTO_UDP, 0, 43, 44, 50, 51, 60, 59, 58, 255 };
	struct frame frame;

	for (size_t i = 0; i < sizeof(next); i++) {
		for (size_t bytes = 0; bytes < 200; bytes += 13) {
			struct ip6_hdr ip = { 0 };

			put_link(&frame, 0, ETHERTYPE_IPV6);
			ip.ip6_vfc = 0x60;
			ip.ip6_nxt = next[i];
			ip.ip6_hlim = 64;
			ip.ip6_plen = htons((__u16)(bytes ^ (i & 1 ? 0x55 : 0)));
			inet_pton(AF_INET6, "fd77::2", &ip.ip6_src);
			inet_pton(AF_INET6, "fd77::a", &ip.ip6_dst);
			memcpy(frame.bytes + frame.ip_at, &ip, sizeof(ip));
			memset(frame.bytes + frame.ip_at + sizeof(ip), (int)i, 200);
			frame.length = frame.ip_at + sizeof(ip) + bytes;
			frame_send(&frame);
		}
	}
	judge("IPv6 with extension headers and lengths that lie");
}

static void init(char **argv)
{
	struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	struct ifreq request = { 0 };

	source = inet_addr(argv[4]);
	need(sscanf(argv[5], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &node_mac[0], &node_mac[1], &node_mac[2], &node_mac[3],
		    &node_mac[4], &node_mac[5]) == 6,
	     "a link address");
	raw = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
	need(raw >= 0, "AF_PACKET");
	strncpy(request.ifr_name, argv[3], IFNAMSIZ - 1);
	need(!ioctl(raw, SIOCGIFHWADDR, &request), "the interface's address");
	memcpy(own_mac, request.ifr_hwaddr.sa_data, 6);
	link_address = (struct sockaddr_ll){ .sll_family = AF_PACKET,
					     .sll_ifindex = (int)if_nametoindex(argv[3]),
					     .sll_halen = 6 };
	heard = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	need(heard >= 0 && !bind(heard, (struct sockaddr *)&here, sizeof(here)), "bind");
}

int main(int argc, char **argv)
{
	if (argc != 6) {
		fprintf(stderr, "usage: hostile_raw ADDRESS KEY|- INTERFACE SOURCE NODE_MAC\n");
		return 2;
	}
	target_init(argv[1], argv[2]);
	init(argv);
	honest_frame();
	link_layer();
	ip_layer();
	udp_layer();
	six();
	honest_frame();
	return 0;
}
