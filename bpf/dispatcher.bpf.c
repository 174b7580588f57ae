//go:build ignore

// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * What it takes to share an interface with libxdp's programs.
 *
 * xdp_dispatcher: hook XDP. It runs the programs that were put in the place of prog0 to prog9 by freplace,
 * one after the other, until one gives a verdict that ends the row. Who is to run, and which verdicts go on,
 * stands in conf, set at load, by the protocol in lib/libxdp/protocol.org of xdp-tools: its name, its one
 * map, the stubs' names and the first byte of the map are what others know it by.
 *
 * culvert_joint: hook freplace of such a stub. It hands the packet to the program in its map, which is the
 * steering program while a gateway runs, and passes it where there is none.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "dispatcher.h"

volatile const struct dispatcher_config conf = {};

/*
 * A stub. The compiler must not know what it returns. Since 6.13 the verifier puts programs that move a
 * packet's ends only in the place of functions that do, so that the stubs have to look as if they did.
 */
#define STUB(slot)                                       \
	__noinline int prog##slot(struct xdp_md *ctx)    \
	{                                                \
		volatile int verdict = DISPATCHER_EMPTY; \
                                                         \
		if (!ctx)                                \
			return XDP_ABORTED;              \
		bpf_xdp_adjust_tail(ctx, 0);             \
		return verdict;                          \
	}

STUB(0)
STUB(1)
STUB(2)
STUB(3)
STUB(4)
STUB(5)
STUB(6)
STUB(7)
STUB(8)
STUB(9)

/* The verifier knows conf and takes out the slots that are not in use. */
#define RUN(slot)                                                       \
	do {                                                            \
		if (conf.programs <= slot)                              \
			return XDP_PASS;                                \
		verdict = prog##slot(ctx);                              \
		if (!((1U << (verdict & 31)) & conf.go_on_after[slot])) \
			return verdict;                                 \
	} while (0)

SEC("xdp")
int xdp_dispatcher(struct xdp_md *ctx)
{
	int verdict;

	RUN(0);
	RUN(1);
	RUN(2);
	RUN(3);
	RUN(4);
	RUN(5);
	RUN(6);
	RUN(7);
	RUN(8);
	RUN(9);
	return XDP_PASS;
}

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} culvert_joined SEC(".maps");

SEC("freplace/prog0")
int culvert_joint(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &culvert_joined, 0);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
