/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The kernel's structures that the probes read. Only the fields used are declared; the loader finds where
 * they are in the kernel that runs (CO-RE).
 */
#ifndef KERNEL_H
#define KERNEL_H

#include <linux/types.h>

#define CORE __attribute__((preserve_access_index))

struct ns_common {
	unsigned int inum;
} CORE;

struct net {
	struct ns_common ns;
} CORE;

typedef struct {
	struct net *net;
} CORE possible_net_t;

struct net_device {
	int ifindex;
	possible_net_t nd_net;
} CORE;

struct napi_struct {
	struct net_device *dev;
} CORE;

struct sk_buff {
	struct net_device *dev;
	int skb_iif;
} CORE;

/* Each thread's account of its waits for a CPU; only with CONFIG_SCHED_INFO, which distributions have. */
struct sched_info {
	unsigned long pcount; /* how often it got one */
	unsigned long long run_delay; /* how long it waited for all of them, in ns */
} CORE;

struct task_struct {
	int pid;
	int tgid;
	struct sched_info sched_info;
} CORE;

struct io_kiocb {
	__u8 opcode;
} CORE;

struct in6_address {
	__u8 bytes[16];
};

struct sock_common {
	__be32 skc_daddr;
	__be16 skc_dport;
	unsigned short skc_family;
	possible_net_t skc_net;
	struct in6_address skc_v6_daddr;
} CORE;

struct sock {
	struct sock_common __sk_common;
} CORE;

struct tcp_sock {
	__u32 srtt_us;
} CORE;

#endif
