/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Cursor helpers: each checks its bounds, moves the cursor behind the header it read, and returns the next
 * header's type, or -1 where the packet ends before the header does.
 *
 * The cursor keeps its offset beside its pointer: to the verifier the difference of two packet pointers is a
 * number without bounds, while a sum of header lengths keeps its own.
 */
#ifndef CULVERT_PARSE_H
#define CULVERT_PARSE_H

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* IEEE 802.1Q stacks a provider's tag on a customer's; nothing that sends telemetry stacks more. */
#define VLANS_MAX 2

/*
 * RFC 8200 section 4.1 recommends an order with at most five extension headers in front of UDP, two of which
 * (fragment, authentication) are the kernel's business; more than four of the others is nobody's telemetry.
 */
#define EXTENSIONS_MAX 4

/* Linux's uapi headers leave these to libc. */
#define PROTOCOL_HOP_BY_HOP 0
#define PROTOCOL_UDP 17
#define PROTOCOL_ROUTING 43
#define PROTOCOL_FRAGMENT 44
#define PROTOCOL_AUTHENTICATION 51
#define PROTOCOL_ESP 50
#define PROTOCOL_DESTINATION 60

/* More Fragments and the fragment offset: either makes a packet a fragment. */
#define IPV4_FRAGMENT 0x3fff

struct cursor {
	void *at;
	void *end;
	__u32 offset; /* of `at` from the first byte of the packet */
};

struct vlan_header {
	__be16 tag;
	__be16 type;
};

/* What the headers that may be skipped begin with (RFC 8200 sections 4.3, 4.4 and 4.6). */
struct extension_header {
	__u8 next;
	__u8 length; /* in units of 8 bytes, not counting the first 8 */
	__u8 routing_type;
	__u8 segments_left;
};

static __always_inline void cursor_advance(struct cursor *c, __u32 length)
{
	c->at += length;
	c->offset += length;
}

/* Returns the EtherType in network order. The destination MAC comes as a word, as it lies in memory. */
static __always_inline int parse_ethernet(struct cursor *c, __u64 *mac)
{
	struct ethhdr *eth = c->at;
	__u32 low;
	__u16 high;

	if ((void *)(eth + 1) > c->end)
		return -1;
	__builtin_memcpy(&low, eth->h_dest, sizeof(low));
	__builtin_memcpy(&high, eth->h_dest + sizeof(low), sizeof(high));
	*mac = (__u64)high << 32 | low;
	cursor_advance(c, sizeof(*eth));
	return eth->h_proto;
}

static __always_inline int is_vlan(int type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

/* Skips up to VLANS_MAX tags; the type returned is a VLAN's where there are more. */
static __always_inline int parse_vlans(struct cursor *c, int type)
{
#pragma unroll
	for (int i = 0; i < VLANS_MAX; i++) {
		struct vlan_header *vlan = c->at;

		if (!is_vlan(type))
			break;
		if ((void *)(vlan + 1) > c->end)
			return -1;
		type = vlan->type;
		cursor_advance(c, sizeof(*vlan));
	}
	return type;
}

/* Returns the protocol. The cursor moves behind the fixed part; the caller skips the options. */
static __always_inline int parse_ipv4(struct cursor *c, struct iphdr **header)
{
	struct iphdr *ip = c->at;

	if ((void *)(ip + 1) > c->end)
		return -1;
	*header = ip;
	cursor_advance(c, sizeof(*ip));
	return ip->protocol;
}

/* Returns the next header's type, which may be an extension. */
static __always_inline int parse_ipv6(struct cursor *c, struct ipv6hdr **header)
{
	struct ipv6hdr *ip = c->at;

	if ((void *)(ip + 1) > c->end)
		return -1;
	*header = ip;
	cursor_advance(c, sizeof(*ip));
	return ip->nexthdr;
}

/* Skips one extension header that carries its length; returns the next header's type. */
static __always_inline int parse_extension(struct cursor *c, struct extension_header **header)
{
	struct extension_header *extension = c->at;

	if ((void *)(extension + 1) > c->end)
		return -1;
	*header = extension;
	/* The header's own end is not checked here: what is read behind it checks again. */
	cursor_advance(c, ((__u32)extension->length + 1) * 8);
	return extension->next;
}

#endif
