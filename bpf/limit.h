/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * How many packets tenants and their senders may send. There is no lock: what all CPUs share is one word a
 * tenant, written once a draw; all else is each CPU's own. The settings are in struct tenant_limit.
 *
 *   sender's time (this CPU) ──▶ tenant's credit (this CPU) ──empty──▶ draw from its bucket (all CPUs)
 */
#ifndef LIMIT_H
#define LIMIT_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "culvert.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE); /* lies on pages of its own, so that the halves lie on cache lines */
	__uint(max_entries, 2 * TENANTS_MAX);
	__type(key, __u32);
	__type(value, struct tenant_limit);
} tenant_limits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TENANTS_MAX);
	__type(key, __u32);
	__type(value, struct tenant_share);
} tenant_shares SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SOURCE_SETS);
	__type(key, __u32);
	__type(value, struct source_set);
} source_buckets SEC(".maps");

/* Draws race seldom; who loses this often lets its one packet go. */
#define DRAW_ATTEMPTS 4

/* Takes some packets out of a tenant's bucket. Returns how many; 0 where it is empty. */
static __always_inline __u32 draw(struct tenant_limit *limit, __u64 now)
{
#pragma unroll
	for (int i = 0; i < DRAW_ATTEMPTS; i++) {
		__u64 paid = *(volatile __u64 *)&limit->paid_until;
		__u64 from = paid > now ? paid : now;

		if (from - now > limit->depth)
			return 0;
		if (__sync_val_compare_and_swap(&limit->paid_until, paid, from + limit->draw_cost) == paid)
			return limit->draw;
	}
	return 1;
}

static __always_inline int tenant_may(struct tenant_limit *limit, struct tenant_share *share, __u8 generation,
				      __u64 now)
{
	__u32 credit = share->generation == generation ? share->credit : 0;

	if (!credit)
		credit = draw(limit, now);
	share->generation = generation;
	share->credit = credit ? credit - 1 : 0;
	return credit != 0;
}

/* Mixes 64 bits by multiplication (the constant is 2⁶⁴ divided by the golden ratio) and a fold. */
static __always_inline __u64 mix(__u64 h)
{
	h *= 0x9e3779b97f4a7c15ULL;
	return h ^ h >> 32;
}

static __always_inline int source_may(struct tenant_limit *limit, const __u8 *source, __u64 owner, __u64 now)
{
	__u64 words[2], hash, paid;
	struct source_set *set;
	__u32 index, way = 0;

	__builtin_memcpy(words, source, sizeof(words));
	hash = mix(mix(mix(words[0] ^ owner) + words[1]) + owner) | 1;
	index = hash >> 32 & (SOURCE_SETS - 1);
	set = bpf_map_lookup_elem(&source_buckets, &index);
	if (!set)
		return 1;
#pragma unroll
	for (int i = 1; i < SOURCE_WAYS; i++) {
		if (set->paid_until[i] < set->paid_until[way])
			way = i;
	}
#pragma unroll
	for (int i = 0; i < SOURCE_WAYS; i++) {
		if (set->key[i] == hash)
			way = i;
	}
	way &= SOURCE_WAYS - 1; /* for the verifier */
	paid = set->key[way] == hash ? set->paid_until[way] : 0;
	if (paid < now)
		paid = now;
	if (paid - now > limit->source_depth)
		return 0;
	set->key[way] = hash;
	set->paid_until[way] = paid + limit->source_cost;
	return 1;
}

/*
 * Takes a packet out of its sender's bucket and then out of its tenant's, so that what one sender sends too
 * much costs the others nothing. `source` is 16 bytes. Returns why it may not go on, or VERDICT_REDIRECTED.
 */
static __always_inline enum verdict take_packet(__u16 tenant, __u8 generation, const __u8 *source, __u64 now)
{
	__u32 number = tenant, index = (generation & 1) * TENANTS_MAX + tenant;
	struct tenant_limit *limit = bpf_map_lookup_elem(&tenant_limits, &index);
	struct tenant_share *share = bpf_map_lookup_elem(&tenant_shares, &number);

	/* Numbers come from our own tables and are below TENANTS_MAX. */
	if (!limit || !share)
		return VERDICT_REDIRECTED;
	if (limit->source_cost && !source_may(limit, source, (__u64)generation << 16 | tenant, now)) {
		share->limited++;
		return VERDICT_SOURCE_LIMIT;
	}
	if (limit->draw_cost && !tenant_may(limit, share, generation, now)) {
		share->limited++;
		return VERDICT_TENANT_LIMIT;
	}
	return VERDICT_REDIRECTED;
}

#endif
