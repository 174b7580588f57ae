/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Histograms of nanoseconds, one copy per CPU, that the programs only count up; Go adds the copies together
 * and cumulates. Each power of two is split into four equal buckets. A bucket holds what is greater than its
 * lower bound and not greater than its upper one, as Prometheus' label "le" has it.
 *
 * bpf/histogram.go says the same in Go, and a test compares both.
 */
#ifndef HIST_H
#define HIST_H

#include <linux/types.h>

#include <bpf/bpf_helpers.h>

/* Four buckets for each power of two: a bucket's bounds differ by a quarter at most. */
#define HIST_SUB_BITS 2
/* 2^8 ns: what is shorter than a probe itself takes is not told apart. */
#define HIST_FIRST_BITS 8
/* 2^36 ns are 68 s, longer than a connection attempt or an answer is waited for. */
#define HIST_LAST_BITS 36
/* One for all that is shorter, one for all that is longer. */
#define HIST_SLOTS (((HIST_LAST_BITS - HIST_FIRST_BITS) << HIST_SUB_BITS) + 2)

struct histogram {
	__u64 slot[HIST_SLOTS];
	__u64 sum; /* nanoseconds */
} __attribute__((aligned(64)));

/* The place of the highest bit. v is not 0. */
static __always_inline __u32 log2_floor(__u64 v)
{
	__u32 n = 0;

#pragma unroll
	for (__u32 step = 32; step; step >>= 1) {
		if (v >> step) {
			v >>= step;
			n += step;
		}
	}
	return n;
}

static __always_inline __u32 hist_slot(__u64 v)
{
	__u32 n, sub;

	/* One less, so that a bound itself counts below it. */
	v -= v > 0;
	if (v < 1ULL << HIST_FIRST_BITS)
		return 0;
	if (v >= 1ULL << HIST_LAST_BITS)
		return HIST_SLOTS - 1;
	n = log2_floor(v);
	sub = (v >> (n - HIST_SUB_BITS)) & ((1 << HIST_SUB_BITS) - 1);
	return 1 + ((n - HIST_FIRST_BITS) << HIST_SUB_BITS) + sub;
}

/*
 * Counts one value in the histogram of this index for 2^bits, of which the others were not looked at. The
 * additions are atomic although each CPU has a copy of its own: an interrupt on this CPU may record, too, and
 * come between a load and its store.
 */
static __always_inline void hist_sample(void *histograms, __u32 index, __u64 v, __u32 bits)
{
	struct histogram *h = bpf_map_lookup_elem(histograms, &index);
	__u32 slot = hist_slot(v);

	if (!h || slot >= HIST_SLOTS)
		return;
	__sync_fetch_and_add(&h->slot[slot], 1ULL << bits);
	__sync_fetch_and_add(&h->sum, v << bits);
}

static __always_inline void hist_record(void *histograms, __u32 index, __u64 v)
{
	hist_sample(histograms, index, v, 0);
}

#endif
