//go:build ignore

// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Hook:     XDP, native or generic, one program and one set of maps per interface.
 * Input:    any frame.
 * Verdicts: a UDP datagram for a listener is stamped with struct meta and redirected to an AF_XDP socket
 *           of its queue. One for a listener whose lengths lie, or whose sender is not allowed or sends more
 *           than it may, is dropped.
 *           Everything else passes to the kernel as it came. Each outcome is counted (enum verdict).
 * Maps:     settings (what is live), endpoints (who listens), recents (who did last), sources_* and
 *           tenants_* (who sends), tenant_limits, tenant_shares and source_buckets (how much, see limit.h),
 *           heartbeats (whether the worker lives), xsks (where to), verdicts (what happened).
 *
 * culvert_steer needs nothing that Linux 6.1 lacks. steer_card_time is the same and asks the driver when the
 * card got the packet, by the card's clock: that takes Linux 6.3, and binds it to one interface in native
 * mode. It is loaded for cards that can tell, under the name of the other.
 *
 * To load either takes CAP_BPF and CAP_NET_ADMIN, and CAP_PERFMON, because the place of the UDP header
 * depends on lengths in the packet: without it the verifier allows no such arithmetic, and would put a
 * speculation barrier behind every store to the stack.
 */
#include <linux/bpf.h>

#include "culvert.h"
#include "limit.h"
#include "parse.h"

/* Both generations of 64 listeners on 64 addresses each, marks included, while one replaces the other. */
#define ENDPOINTS_MAX 16384
/* Both generations of what a large site lists: a /24 per line, a few thousand lines. Memory goes by use. */
#define PREFIXES_MAX 65536

/*
 * How many sockets a queue has, and how a packet finds its own: by its flow, or in turn. The sockets of a
 * queue have slots that follow each other in xsks and in heartbeats. The first one's worker gives the kernel
 * frames for all of them. Set at load; with one socket the verifier takes everything of it out.
 */
volatile const __u32 fanout = 1;
volatile const __u32 fanout_in_turn = 0;

/*
 * Whether a packet may come in several pieces, of which the program sees the first, where its headers are.
 * Set at load, together with BPF_F_XDP_HAS_FRAGS, where packets may be longer than a frame.
 */
volatile const __u32 pieces = 0;

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 1); /* the sockets of the interface's queues: set at load */
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* the sockets of the interface's queues: set at load */
	__type(key, __u32);
	__type(value, struct heartbeat);
} heartbeats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, ENDPOINTS_MAX);
	__type(key, struct endpoint_key);
	__type(value, struct endpoint);
} endpoints SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PREFIXES_MAX);
	__type(key, struct prefix_v4);
	__type(value, __u32);
} sources_v4 SEC(".maps"), tenants_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PREFIXES_MAX);
	__type(key, struct prefix_v6);
	__type(value, __u32);
} sources_v6 SEC(".maps"), tenants_v6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct verdict_counts);
} verdicts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct recent);
} recents SEC(".maps");

/*
 * The time at which the card got the packet, in ns of the card's clock; less than 0 where there is none
 * (net/core/xdp.c). A driver without a clock may say 0 and a time of 0, as veth does.
 */
extern int bpf_xdp_metadata_rx_timestamp(const struct xdp_md *ctx, __u64 *timestamp) __ksym __weak;

/* What parsing finds. Pointers into the packet do not outlive it: everything here is a copy. */
struct packet {
	struct endpoint_key to __attribute__((aligned(8)));
	__u8 source[16] __attribute__((aligned(8))); /* IPv4 in the first 4 bytes */
	__be16 source_port;
	__u32 length; /* of the whole packet, all pieces */
	__u32 l3_offset;
	__u32 l4_offset;
	__u32 l4_length;  /* of what the IP header claims behind its own headers */
	__u32 udp_length; /* as the UDP header claims */
	__u8 lies;   /* the IP length exceeds the frame */
	__u8 hidden; /* the lengths leave no room for a UDP header, so that the port is not known */
};

/* All steps below return a reason to stop, or this: go on. It is what a packet gets that meets no reason. */
#define GO_ON VERDICT_REDIRECTED

/* Reads the UDP header, if the IP header leaves room for one. */
static __always_inline int read_udp(struct cursor *c, struct packet *p)
{
	struct udphdr *udp = c->at;

	p->l4_offset = c->offset;
	if (p->hidden || (void *)(udp + 1) > c->end) {
		/* In a later piece it is nobody's lie. The kernel can read it there. */
		if (pieces && !p->hidden && c->offset + sizeof(*udp) <= p->length)
			return VERDICT_TRUNCATED;
		p->hidden = 1;
		return GO_ON;
	}
	p->to.port = udp->dest;
	p->source_port = udp->source;
	p->udp_length = bpf_ntohs(udp->len);
	return GO_ON;
}

static __always_inline int read_ipv4(struct cursor *c, struct packet *p)
{
	struct iphdr *ip;
	__u32 header, total;
	int protocol;

	p->to.family = 4;
	p->l3_offset = c->offset;
	protocol = parse_ipv4(c, &ip);
	if (protocol < 0)
		return VERDICT_TRUNCATED;
	if (ip->version != 4)
		return VERDICT_NOT_IP;
	if (protocol != PROTOCOL_UDP)
		return VERDICT_NOT_UDP;
	if (ip->frag_off & bpf_htons(IPV4_FRAGMENT))
		return VERDICT_FRAGMENT;

	p->to.address[10] = 0xff;
	p->to.address[11] = 0xff;
	__builtin_memcpy(&p->to.address[12], &ip->daddr, 4);
	__builtin_memcpy(p->source, &ip->saddr, 4);

	header = ip->ihl * 4;
	total = bpf_ntohs(ip->tot_len);
	if (header < sizeof(*ip) || total < header + sizeof(struct udphdr)) {
		p->hidden = 1;
	} else {
		p->l4_length = total - header;
		p->lies = p->l3_offset + total > p->length;
		cursor_advance(c, header - sizeof(*ip));
	}
	return read_udp(c, p);
}

/* Walks the extension headers up to the transport's. Returns a reason to stop, or GO_ON with UDP next. */
static __always_inline int walk_extensions(struct cursor *c, int next)
{
	struct extension_header *extension;

#pragma unroll
	for (int i = 0; i < EXTENSIONS_MAX; i++) {
		int type = next;

		if (type == PROTOCOL_UDP)
			return GO_ON;
		if (type == PROTOCOL_FRAGMENT)
			return VERDICT_FRAGMENT;
		/* Hop-by-hop options stand first or make the packet invalid (RFC 8200 section 4.1). */
		if (type == PROTOCOL_AUTHENTICATION || type == PROTOCOL_ESP || (i && type == PROTOCOL_HOP_BY_HOP))
			return VERDICT_EXTENSION;
		if (type != PROTOCOL_HOP_BY_HOP && type != PROTOCOL_DESTINATION && type != PROTOCOL_ROUTING)
			return VERDICT_NOT_UDP;
		next = parse_extension(c, &extension);
		if (next < 0)
			return VERDICT_TRUNCATED;
		if (type == PROTOCOL_ROUTING && extension->segments_left)
			return VERDICT_ROUTING;
	}
	return next == PROTOCOL_UDP ? GO_ON : VERDICT_EXTENSION;
}

static __always_inline int read_ipv6(struct cursor *c, struct packet *p)
{
	struct ipv6hdr *ip;
	__u32 start, claimed, headers;
	int next, reason;

	p->to.family = 6;
	p->l3_offset = c->offset;
	next = parse_ipv6(c, &ip);
	if (next < 0)
		return VERDICT_TRUNCATED;
	if (ip->version != 6)
		return VERDICT_NOT_IP;
	start = c->offset;
	claimed = bpf_ntohs(ip->payload_len);
	p->lies = start + claimed > p->length;
	__builtin_memcpy(p->to.address, &ip->daddr, 16);
	__builtin_memcpy(p->source, &ip->saddr, 16);

	reason = walk_extensions(c, next);
	if (reason != GO_ON)
		return reason;
	headers = c->offset - start;
	if (claimed < headers + sizeof(struct udphdr))
		p->hidden = 1;
	else
		p->l4_length = claimed - headers;
	return read_udp(c, p);
}

/* Reads the frame up to its UDP header. */
static __always_inline int read_packet(struct xdp_md *ctx, __u64 control, struct packet *p)
{
	struct cursor c = {
		.at = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
	};
	__u64 mac;
	int type;

	p->length = pieces ? bpf_xdp_get_buff_len(ctx) : c.end - c.at;
	type = parse_ethernet(&c, &mac);
	if (type < 0)
		return VERDICT_TRUNCATED;
	/* Bit 0 of the first byte marks groups, and with them broadcast. */
	if (!(mac & 1) && mac != (control & CONTROL_MAC))
		return VERDICT_OTHER_MAC;
	type = parse_vlans(&c, type);
	if (type < 0)
		return VERDICT_TRUNCATED;
	if (type == bpf_htons(ETH_P_IP))
		return read_ipv4(&c, p);
	if (type == bpf_htons(ETH_P_IPV6))
		return read_ipv6(&c, p);
	return is_vlan(type) ? VERDICT_VLAN_DEPTH : VERDICT_NOT_IP;
}

/* A key in words, to be compared in three steps. */
struct key_words {
	__u64 address[2];
	__u32 rest;
};

static __always_inline struct key_words words_of(const struct endpoint_key *key)
{
	struct key_words words;

	__builtin_memcpy(&words, __builtin_assume_aligned(key, 8), sizeof(*key));
	return words;
}

static __always_inline int same_endpoint(const struct endpoint_key *a, const struct endpoint_key *b)
{
	struct key_words x = words_of(a), y = words_of(b);

	return x.address[0] == y.address[0] && x.address[1] == y.address[1] && x.rest == y.rest;
}

/* Finds what listens where a packet goes to. A zeroed recent is nobody's: no packet has family 0. */
static __always_inline int look_up(struct packet *p, __u64 tables, struct endpoint *to)
{
	__u32 zero = 0;
	struct recent *recent = bpf_map_lookup_elem(&recents, &zero);
	struct endpoint *found;

	if (recent && recent->tables == tables && same_endpoint(&recent->to, &p->to)) {
		*to = recent->found;
		return 1;
	}
	found = bpf_map_lookup_elem(&endpoints, &p->to);
	if (!found)
		return 0;
	*to = *found;
	if (recent)
		*recent = (struct recent){.tables = tables, .to = p->to, .found = *to};
	return 1;
}

/* Finds the listener a packet is for, and what is wrong with the packet if it is for one. */
static __always_inline int find_endpoint(struct packet *p, __u64 tables, struct endpoint *to)
{
	/* The port stayed 0 in a packet that hides it, so that it meets the mark of its address. */
	if (!look_up(p, tables, to))
		return VERDICT_NOT_OURS;
	if (p->hidden)
		return VERDICT_MALFORMED;
	/* A datagram that is really sent to port 0 meets the mark, too, and is nobody's. */
	if (to->flags & ENDPOINT_ADDRESS)
		return VERDICT_NOT_OURS;
	if (p->lies || p->udp_length < sizeof(struct udphdr) || p->udp_length > p->l4_length)
		return VERDICT_MALFORMED;
	return GO_ON;
}

static __always_inline __u32 *find_v4(void *trie, struct packet *p, __u16 listener)
{
	struct prefix_v4 key = {
		.bits = PREFIX_BITS_FIXED + 32,
		.generation = p->to.generation,
		.listener = listener,
	};

	__builtin_memcpy(key.address, p->source, sizeof(key.address));
	return bpf_map_lookup_elem(trie, &key);
}

static __always_inline __u32 *find_v6(void *trie, struct packet *p, __u16 listener)
{
	struct prefix_v6 key = {
		.bits = PREFIX_BITS_FIXED + 128,
		.generation = p->to.generation,
		.listener = listener,
	};

	__builtin_memcpy(key.address, p->source, sizeof(key.address));
	return bpf_map_lookup_elem(trie, &key);
}

static __always_inline int source_allowed(struct packet *p, struct endpoint *to)
{
	if (!(to->flags & ENDPOINT_SOURCES))
		return 1;
	if (p->to.family == 4)
		return find_v4(&sources_v4, p, to->listener) != NULL;
	return find_v6(&sources_v6, p, to->listener) != NULL;
}

/* The tenant of a sender that no prefix names is 0, the default one. */
static __always_inline __u16 find_tenant(struct packet *p, struct endpoint *to)
{
	__u32 *tenant;

	if (!(to->flags & ENDPOINT_TENANTS))
		return 0;
	if (p->to.family == 4)
		tenant = find_v4(&tenants_v4, p, to->listener);
	else
		tenant = find_v6(&tenants_v6, p, to->listener);
	return tenant ? *tenant : 0;
}

/*
 * A number below 2^32 of the packet's flow. Cards choose the queue by the same fields; this is another
 * function of them, so that a queue's flows spread over all of its sockets. The multipliers are odd with bits
 * all over: 2^64 divided by the golden ratio, and one of MurmurHash3's final mix.
 */
static __always_inline __u32 flow_hash(struct packet *p, __u16 tenant)
{
	__u64 low, high, hash;

	__builtin_memcpy(&low, p->source, sizeof(low));
	__builtin_memcpy(&high, p->source + sizeof(low), sizeof(high));
	hash = (low ^ (__u64)p->source_port << 32 ^ (__u64)p->to.port << 48) * 0x9e3779b97f4a7c15ULL;
	hash = (hash ^ hash >> 32 ^ high ^ tenant) * 0xff51afd7ed558ccdULL;
	hash = (hash ^ hash >> 32) * 0x9e3779b97f4a7c15ULL;
	return hash >> 32;
}

/* The slot of a packet of this queue. */
static __always_inline __u32 find_slot(struct packet *p, __u16 tenant, __u32 queue,
				       struct verdict_counts *counts)
{
	__u64 *count = counts->count;
	__u32 member;

	if (fanout == 1)
		return queue;
	if (fanout_in_turn)
		/* As many came this far on this CPU: the next one's turn, also where a socket takes none. */
		member = (count[VERDICT_REDIRECTED] + count[VERDICT_UNSERVED] + count[VERDICT_STALLED] +
			  count[VERDICT_NO_METADATA]) %
			 fanout;
	else
		member = (__u64)flow_hash(p, tenant) * fanout >> 32;
	return queue * fanout + member;
}

/* Tells whether somebody will take a frame out of the ring of this slot soon. */
static __always_inline int check_worker(__u32 slot, __u64 now, __u64 stall_after)
{
	struct heartbeat *cell = bpf_map_lookup_elem(&heartbeats, &slot);
	__u64 beat = cell ? *(volatile __u64 *)&cell->beat : 0;

	if (!beat)
		return VERDICT_UNSERVED;
	/* Signed: a worker on another CPU may have written a moment after our clock was read. */
	if (stall_after && (__s64)(now - beat) > (__s64)stall_after)
		return VERDICT_STALLED;
	return GO_ON;
}

/* Tells it of a slot's worker, and of the one that gives the kernel frames: without it they would run out. */
static __always_inline int check_workers(__u32 queue, __u32 slot, __u64 now, __u64 stall_after)
{
	int reason = check_worker(slot, now, stall_after);

	if (fanout == 1 || reason != GO_ON || slot == queue * fanout)
		return reason;
	return check_worker(queue * fanout, now, stall_after);
}

static __always_inline int check_limits(struct packet *p, struct endpoint *to, __u16 tenant, __u64 now)
{
	if (!(to->flags & ENDPOINT_LIMITS))
		return GO_ON;
	return take_packet(tenant, p->to.generation, p->source, now);
}

static __always_inline int stamp(struct xdp_md *ctx, struct packet *p, struct endpoint *to, __u16 tenant,
				 __u64 now, const int ask_card)
{
	struct meta *meta;
	__u64 card = 0;

	/*
	 * No metadata is possible, or a program that ran before this one has put its own there, behind which
	 * nobody would look for ours.
	 */
	if (ctx->data_meta != ctx->data)
		return VERDICT_NO_METADATA;
	/* Before the metadata is made: some cards write their time where it will lie (igc). */
	if (ask_card && bpf_xdp_metadata_rx_timestamp(ctx, &card))
		card = 0;
	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*meta)))
		return VERDICT_NO_METADATA;
	meta = (void *)(long)ctx->data_meta;
	if ((void *)(meta + 1) > (void *)(long)ctx->data)
		return VERDICT_NO_METADATA;
	*meta = (struct meta){
		.magic = META_MAGIC,
		.payload_offset = p->l4_offset + sizeof(struct udphdr),
		.payload_length = p->udp_length - sizeof(struct udphdr),
		.arrival = now,
		.listener = to->listener,
		.tenant = tenant,
		.l3_offset = p->l3_offset,
		.l4_offset = p->l4_offset,
		.packet_length = p->length,
		.family = p->to.family,
		.flags = card ? META_CARD_TIME : 0,
		.card_time = card,
	};
	return GO_ON;
}

static __always_inline int steer(struct xdp_md *ctx, struct settings *live, struct verdict_counts *counts,
				 const int ask_card)
{
	/* Read once: the generation must not change under a packet. */
	__u64 control = *(volatile __u64 *)&live->control;
	/* Read after it: tables that are counted already may be those to come, never the other way round. */
	__u64 tables = *(volatile __u64 *)&live->tables;
	struct packet p = {.to.generation = control >> CONTROL_GENERATION_SHIFT};
	__u32 queue = ctx->rx_queue_index, slot;
	struct endpoint to;
	__u16 tenant;
	__u64 now;
	int reason;

	if (!(control & CONTROL_REDIRECT))
		return VERDICT_OFF;
	reason = read_packet(ctx, control, &p);
	if (reason != GO_ON)
		return reason;
	reason = find_endpoint(&p, tables, &to);
	if (reason != GO_ON)
		return reason;
	if (!source_allowed(&p, &to))
		return VERDICT_SOURCE;
	now = bpf_ktime_get_ns();
	tenant = find_tenant(&p, &to);
	/* Before all that passes to the kernel: its socket is no way round a limit. */
	reason = check_limits(&p, &to, tenant, now);
	if (reason != GO_ON)
		return reason;
	/* The socket would drop what its frame cannot hold; the kernel's own socket takes it. */
	if (live->packet_max && bpf_xdp_get_buff_len(ctx) > live->packet_max)
		return VERDICT_TOO_LONG;
	slot = find_slot(&p, tenant, queue, counts);
	reason = check_workers(queue, slot, now, live->stall_after);
	if (reason != GO_ON)
		return reason;
	/* Asked before the stamp, so that a packet without a socket passes without metadata, as it came. */
	if (bpf_redirect_map(&xsks, slot, XDP_PASS) != XDP_REDIRECT)
		return VERDICT_UNSERVED;
	return stamp(ctx, &p, &to, tenant, now, ask_card);
}

static __always_inline int run(struct xdp_md *ctx, const int ask_card)
{
	__u32 zero = 0;
	struct settings *live = bpf_map_lookup_elem(&settings, &zero);
	struct verdict_counts *counts = bpf_map_lookup_elem(&verdicts, &zero);
	__u32 verdict;

	/* Arrays of one entry have it; only the verifier does not know. */
	if (!live || !counts)
		return XDP_PASS;
	verdict = steer(ctx, live, counts, ask_card);
	if (verdict < VERDICTS)
		counts->count[verdict]++;
	if (verdict == VERDICT_REDIRECTED)
		return XDP_REDIRECT;
	/* The last ones of the enum are those to drop. */
	if (verdict >= VERDICT_MALFORMED)
		return XDP_DROP;
	return XDP_PASS;
}

SEC("xdp")
int culvert_steer(struct xdp_md *ctx)
{
	return run(ctx, 0);
}

SEC("xdp")
int steer_card_time(struct xdp_md *ctx)
{
	return run(ctx, 1);
}

/* No map holds these, so that BTF would leave them out; tests compare them with abi. Never loaded. */
struct meta *abi_meta SEC("abi");
enum verdict abi_verdict SEC("abi");

char LICENSE[] SEC("license") = "Dual BSD/GPL";
