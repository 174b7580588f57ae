/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What crosses between the kernel programs and Go. bpf/abi says the same in Go, and a test compares both with
 * the BTF of the compiled object: whoever changes a line here changes it there.
 *
 * All integers are in the host's order (little endian: the object is built for bpfel) unless marked __be.
 */
#ifndef CULVERT_H
#define CULVERT_H

#include <linux/types.h>

/* "CVT1" read as a little-endian word. Another layout of struct meta gets another magic. */
#define META_MAGIC 0x31545643

/*
 * The metadata in front of a steered frame. 32 bytes are what kernels before 6.3 allow at most. User space
 * zeroes the magic once it has read it, so that an area left over from an earlier packet is never believed.
 */
struct meta {
	__u32 magic;
	__u16 payload_offset; /* from the first byte of the Ethernet header, like all offsets here */
	__u16 payload_length; /* by the UDP length, without padding */
	__u64 arrival;	      /* bpf_ktime_get_ns: nanoseconds of CLOCK_MONOTONIC */
	__u16 listener;
	__u16 tenant;
	__u16 l3_offset;
	__u16 l4_offset;
	__u16 packet_length; /* the whole frame with its padding: what the XSK descriptor says, too */
	__u8 family;	     /* 4 or 6 */
	__u8 flags;	     /* META_… */
	__u32 card_time;     /* low half of the time of arrival by the card's own clock, ns */
};

#define META_CARD_TIME 1 /* card_time is set */

/*
 * What became of a packet, each counted apart. The names in lower case without the prefix are the values of
 * the label "verdict".
 */
enum verdict {
	/* Went to the AF_XDP socket of its queue. */
	VERDICT_REDIRECTED,

	/* Passed to the kernel, untouched. */
	VERDICT_OFF,	     /* steering is switched off: no gateway, or one on its way in or out */
	VERDICT_TRUNCATED,   /* too short to tell whose it is */
	VERDICT_OTHER_MAC,   /* sent to another host's MAC: seen in promiscuous mode, or bridged */
	VERDICT_VLAN_DEPTH,  /* more than two VLAN tags */
	VERDICT_NOT_IP,	     /* ARP and everything else that is neither IPv4 nor IPv6 */
	VERDICT_NOT_UDP,     /* TCP, ICMP, neighbour discovery, … */
	VERDICT_FRAGMENT,    /* any fragment, the first one too: only the kernel can join them */
	VERDICT_EXTENSION,   /* IPv6 extension headers too many, out of place, or of a kind not walked here */
	VERDICT_ROUTING,     /* IPv6 routing header that has segments left: this host is not its end */
	VERDICT_NOT_OURS,    /* UDP to an address or a port without a listener */
	VERDICT_UNSERVED,    /* for a listener, but no socket or no worker serves this queue */
	VERDICT_STALLED,     /* for a listener, but the queue's worker shows no life */
	VERDICT_TOO_LONG,    /* for a listener, but longer than a frame of its memory */
	VERDICT_NO_METADATA, /* for a listener, but metadata has no room, or is another program's */

	/* Dropped. */
	VERDICT_MALFORMED, /* for a listener, and a length in its headers lies */
	VERDICT_SOURCE,	   /* for a listener that does not allow this sender */
	VERDICT_TENANT_LIMIT, /* more packets than its tenant may send */
	VERDICT_SOURCE_LIMIT, /* more packets than one sender of its tenant may send */

	VERDICTS, /* how many there are */
};

/* One CPU's counts, on cache lines of their own. */
struct verdict_counts {
	__u64 count[VERDICTS];
} __attribute__((aligned(64)));

/*
 * The live settings. `control` is one word so that user space changes it by one store and no packet sees half
 * of a change: bits 0–47 are the interface's MAC as it lies in memory, bit 48 switches steering on, bits
 * 56–63 are the generation of the tables that count.
 */
struct settings {
	__u64 control;
	__u64 stall_after; /* ns a worker may show no life; 0 = for ever */
	__u64 packet_max;  /* bytes of a packet that a frame holds; 0 = no limit */
	__u64 tables;	   /* how often the tables were replaced, counted before control names the new ones */
};

#define CONTROL_MAC 0x0000ffffffffffffULL
#define CONTROL_REDIRECT (1ULL << 48)
#define CONTROL_GENERATION_SHIFT 56

/* One queue's worker writes its CLOCK_MONOTONIC here each turn; 0 means that no worker serves the queue. */
struct heartbeat {
	__u64 beat;
	__u64 unused[7]; /* a cache line each: the cells have different writers */
};

/*
 * Where a listener listens. Every table's key begins with, or contains, the generation: a new set of
 * listeners is written beside the old one and takes effect at once when the control word names its
 * generation.
 */
struct endpoint_key {
	__u8 address[16]; /* IPv4 as ::ffff:a.b.c.d */
	__be16 port;	  /* 0: marks the address itself as a listener's, for packets that hide their port */
	__u8 generation;
	__u8 family; /* 4 or 6: an IPv6 packet to ::ffff:a.b.c.d is not an IPv4 packet to a.b.c.d */
};

struct endpoint {
	__u16 listener;
	__u16 flags;
};

/*
 * Where one CPU's last packet for a listener went: most packets go where the one before went, and to
 * compare 20 bytes costs a tenth of looking them up. `tables` is what the settings said then. A generation
 * comes back after 256 changes, the two together never do.
 */
struct recent {
	__u64 tables;
	struct endpoint_key to;
	struct endpoint found;
};

#define ENDPOINT_ADDRESS 1 /* the mark of an address, not an endpoint */
#define ENDPOINT_SOURCES 2 /* only senders in sources_v4 and sources_v6 are allowed */
#define ENDPOINT_TENANTS 4 /* look the sender up in tenants_v4 and tenants_v6 */
#define ENDPOINT_LIMITS 8  /* a tenant that sends here has limits: look it up in tenant_limits */

/* Bits of a prefix key in front of the address; they are always compared. */
#define PREFIX_BITS_FIXED 32

struct prefix_v4 {
	__u32 bits; /* PREFIX_BITS_FIXED + the prefix's length */
	__u16 generation;
	__u16 listener;
	__u8 address[4];
};

struct prefix_v6 {
	__u32 bits;
	__u16 generation;
	__u16 listener;
	__u8 address[16];
};

/* The tenants of a configuration, at most. Tables by tenant hold two generations: the lowest bit tells. */
#define TENANTS_MAX 256

/*
 * What a tenant may send, and its bucket. A bucket is one time: until when what was taken out of it is paid
 * for. Whoever takes moves it on by what that costs; it is empty while it lies too far ahead of the clock,
 * and full when it lies in the past. CPUs take packets for a while at once, so that they meet here seldom.
 */
struct tenant_limit {
	__u64 draw_cost;    /* ns that one draw moves the bucket's time on; 0: no limit */
	__u64 depth;	    /* ns that the time may lie ahead for a draw to be allowed */
	__u64 source_cost;  /* ns that a packet moves on its sender's own time; 0: no limit */
	__u64 source_depth; /* the same of one sender */
	__u32 draw;	    /* packets in one draw */
	__u32 reserved;
	__u64 unused[3];    /* all CPUs read what stands above, and write below: a cache line each */
	__u64 paid_until;   /* CLOCK_MONOTONIC, ns */
	__u64 unused_too[7];
};

/* What one CPU drew for a tenant and has not used, and how many of the tenant's packets it dropped. */
struct tenant_share {
	__u32 generation; /* the one that the credit is of */
	__u32 credit;
	__u64 limited;
};

/*
 * Senders by a hash of tenant and address, one CPU's, as a set of a table: where a sender has no place in
 * its set, it takes the one that is paid for the shortest, most likely one whose bucket is full again, of
 * which nothing needs to be known.
 */
#define SOURCE_WAYS 4
#define SOURCE_SETS 1024

struct source_set {
	__u64 key[SOURCE_WAYS]; /* 0: nobody's */
	__u64 paid_until[SOURCE_WAYS];
};

#endif
