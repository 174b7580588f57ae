/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The configuration of a dispatcher of libxdp, as lib/libxdp/protocol.org of xdp-tools lays it down: others
 * read and write it, too. dispatcher.go says the same in Go, and a test compares both.
 */
#ifndef DISPATCHER_H
#define DISPATCHER_H

#include <linux/types.h>

#define DISPATCHER_SLOTS 10
/* What an empty stub returns: no verdict of XDP, and every slot goes on after it. */
#define DISPATCHER_EMPTY 31

struct dispatcher_config {
	__u8 magic;
	__u8 version;
	__u8 programs; /* how many slots are in use, from the first on */
	__u8 pieces;   /* it was loaded for packets in several pieces */
	__u32 go_on_after[DISPATCHER_SLOTS]; /* a bit for each verdict after which the next one runs */
	__u32 priorities[DISPATCHER_SLOTS];  /* in ascending order */
	__u32 flags[DISPATCHER_SLOTS];	     /* BPF_F_XDP_HAS_FRAGS, or 0 */
	__u8 device;   /* since version 3: it is bound to a device. Version 2 ends before it. */
};

#endif
