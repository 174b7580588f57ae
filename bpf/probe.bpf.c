//go:build ignore

// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * Hook:     kernel tracepoints, typed by BTF (tp_btf). Each probe is one or more programs here; bpf/probe.go
 *           has the table. A program that does not load or attach takes its probes away and no others.
 * Input:    the tracepoint's raw arguments. Where kernels differ in them, Go chooses by the kernel's BTF.
 * Verdicts: none. Nothing here changes what the kernel does.
 * Maps:     threads, interfaces and sinks say what is ours, and all else is left out; *_seconds are the
 *           histograms and *_total the counters, named as their metrics; the others are notes between two
 *           events.
 *
 * Needs Linux 6.1 with BTF, CAP_BPF and CAP_PERFMON. Of kernel structures only the fields used are declared;
 * the loader finds where they are (CO-RE).
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "hist.h"
#include "kernel.h"

/* Workers are CPUs at most; no machine that this is for has more. */
#define THREADS_MAX 1024
/* As many as a configuration can name with sense; Go refuses more. */
#define INTERFACES_MAX 64
/* Addresses of sinks, old ones of a changed name included. */
#define SINKS_MAX 256
/* Connections of all workers that are being set up at once. */
#define CONNECTING_MAX 4096
/* Places for requests that are under way, some hundred. Two that meet in one cost one its measurement. */
#define REQUESTS_BITS 13
/* The last opcode of Linux 6.18 is 62; what is beyond counts as the last. */
#define OPCODES 64
/* Errors, actions and drop reasons that really come up on our interfaces: a few dozen. */
#define CODES_MAX 1024

/* include/linux/interrupt.h */
#define NET_RX_SOFTIRQ 3
/* include/linux/socket.h */
#define AF_INET 2
#define AF_INET6 10
/* include/net/tcp_states.h */
#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2

/* Whether kfree_skb has the receiving socket as its fourth argument (Linux 6.11). */
const volatile bool drop_has_socket = false;
/* The reason that is none: SKB_CONSUMED, where the kernel has it (Linux 6.4), else 0. */
const volatile __u32 drop_consumed = 0;
/*
 * Of what happens as often as packets come, one in 2^sample_bits is measured and counts for all: NET_RX
 * softirqs, requests, segments. Reading the clock twice and a histogram are most of what a probe costs. Waits
 * for a CPU take no clock, and each is measured; errors, drops and polls are counted each.
 */
const volatile __u32 sample_bits = 3;
/* Probes that share programs: whether each of them is on. */
const volatile bool measure_napi_poll = true;
const volatile bool measure_softirq = true;

/* The gateway's thread group as the initial PID namespace counts, written by watch_thread. */
__u32 gateway_tgid = 0;
/* The opcodes that have a histogram, a bit each, so that a scrape reads these alone. */
__u64 opcodes_seen = 0;

/* What a thread's sched_info said when it was last looked at. */
struct thread {
	__u64 turns;
	__u64 waited;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, THREADS_MAX);
	__type(key, __u32);
	__type(value, struct thread);
} threads SEC(".maps");

/* An interface's number means nothing without its namespace. */
struct interface_key {
	__u32 netns; /* the inode number */
	__u32 ifindex;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, INTERFACES_MAX);
	__type(key, struct interface_key);
	__type(value, __u32); /* index into the names that Go keeps */
} interfaces SEC(".maps");

struct sink_key {
	__u8 address[16]; /* IPv4 mapped into IPv6 */
	__u32 netns;
	__be16 port;
	__u16 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SINKS_MAX);
	__type(key, struct sink_key);
	__type(value, __u32);
} sinks SEC(".maps");

#define HISTOGRAMS(name, n) \
	struct { \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); \
		__uint(max_entries, n); \
		__type(key, __u32); \
		__type(value, struct histogram); \
	} name SEC(".maps")

HISTOGRAMS(runqueue_seconds, 1);
HISTOGRAMS(napi_poll_seconds, 1);
HISTOGRAMS(softirq_seconds, 1);
HISTOGRAMS(io_uring_seconds, OPCODES);
HISTOGRAMS(tcp_connect_seconds, 1);
HISTOGRAMS(tcp_rtt_seconds, 1);

struct napi_counts {
	__u64 polls;
	__u64 packets;
	__u64 exhausted; /* polls that used their whole budget */
} __attribute__((aligned(64)));

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, INTERFACES_MAX);
	__type(key, __u32);
	__type(value, struct napi_counts);
} napi_total SEC(".maps");

/* What happened on an interface: an errno, an XDP action or a drop reason. */
struct code_key {
	__u32 interface;
	__u32 code;
};

#define COUNTERS(name) \
	struct { \
		__uint(type, BPF_MAP_TYPE_PERCPU_HASH); \
		__uint(max_entries, CODES_MAX); \
		__type(key, struct code_key); \
		__type(value, __u64); \
	} name SEC(".maps")

COUNTERS(redirect_errors_total);
COUNTERS(xdp_exceptions_total);
COUNTERS(packet_drops_total);

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} retransmits_total SEC(".maps");

/* All that frequent events look at, in one line of their CPU's cache. */
struct moment {
	__u64 begun;  /* when this CPU's NET_RX softirq began, or 0: it is not measured */
	__u64 polled; /* when its last poll ended, or begun */
	__u32 ours;   /* whether it polled an interface of ours */
	/* How many events of each kind it is until the next one that is measured, that one included. */
	__u32 softirqs;
	__u32 requests;
	__u32 segments;
} __attribute__((aligned(64)));

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct moment);
} moments SEC(".maps");

/* By the address of the socket, which is a key here and never read. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CONNECTING_MAX);
	__type(key, __u64);
	__type(value, __u64);
} connecting SEC(".maps");

struct request {
	__u64 address; /* of the kernel's request, or 0; it is compared and never read */
	__u64 submitted;
	__u64 opcode;
};

/*
 * A hash table without chains. A request whose completion was asked not to show (CQE_SKIP) leaves its entry
 * behind until the place is taken again.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << REQUESTS_BITS);
	__type(key, __u32);
	__type(value, struct request);
} requests SEC(".maps");

/*
 * The place of a request. The verifier lets nobody compute with such a pointer, but takes its half for a
 * number; addresses of the kernel's slab differ in the lower one (Fibonacci hashing).
 */
static __always_inline struct request *place_of(void *req)
{
	register void *from asm("r1") = req;
	register __u64 half asm("r2");
	__u32 at;

	asm volatile("w2 = w1" : "=r"(half) : "r"(from));
	at = half * 0x9e3779b97f4a7c15ULL >> (64 - REQUESTS_BITS);
	return bpf_map_lookup_elem(&requests, &at);
}

static __always_inline struct moment *this_moment(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&moments, &zero);
}

/*
 * Whether this event is one of those that are measured, by what is left until the next one. The gap is
 * chance, since what comes in turns has a period: from 1 to 2^(sample_bits + 1) - 1, and half of that in the
 * mean.
 * Throwing dice for each event would cost more than all else here.
 */
static __always_inline bool due(__u32 *left)
{
	__u32 now = *left;

	if (!sample_bits)
		return true;
	if (now > 1) {
		*left = now - 1;
		return false;
	}
	*left = 1 + bpf_get_prandom_u32() % ((2U << sample_bits) - 1);
	/* A CPU's very first event only begins to count. */
	return now;
}

static __always_inline void count(void *counters, __u32 interface, __u32 code)
{
	struct code_key key = {.interface = interface, .code = code};
	__u64 *n = bpf_map_lookup_elem(counters, &key), one = 1;

	if (n)
		__sync_fetch_and_add(n, 1);
	else
		bpf_map_update_elem(counters, &key, &one, BPF_NOEXIST);
}

static __always_inline __u32 *find_interface(struct net_device *dev)
{
	struct interface_key key = {};

	if (!dev)
		return NULL;
	key.netns = dev->nd_net.net->ns.inum;
	key.ifindex = dev->ifindex;
	return bpf_map_lookup_elem(&interfaces, &key);
}

static __always_inline bool is_sink(struct sock *sk)
{
	struct sink_key key = {};

	key.port = sk->__sk_common.skc_dport;
	if (sk->__sk_common.skc_family == AF_INET) {
		__be32 address = sk->__sk_common.skc_daddr;

		key.address[10] = 0xff;
		key.address[11] = 0xff;
		__builtin_memcpy(&key.address[12], &address, sizeof(address));
	} else if (sk->__sk_common.skc_family == AF_INET6) {
		bpf_core_read(&key.address, sizeof(key.address), &sk->__sk_common.skc_v6_daddr);
	} else {
		return false;
	}
	key.netns = sk->__sk_common.skc_net.net->ns.inum;
	return bpf_map_lookup_elem(&sinks, &key) != NULL;
}

/* Run by a worker's own thread, which makes itself known: only here its number is the kernel's own. */
SEC("raw_tp/sched_wakeup")
int watch_thread(void *ctx)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	__u64 id = bpf_get_current_pid_tgid();
	struct thread fresh = {};
	__u32 tid = id;

	/* Without it one probe is missing, and the others need their threads all the same. */
	if (bpf_core_field_exists(task->sched_info.run_delay)) {
		fresh.turns = BPF_CORE_READ(task, sched_info.pcount);
		fresh.waited = BPF_CORE_READ(task, sched_info.run_delay);
	}
	gateway_tgid = id >> 32;
	return bpf_map_update_elem(&threads, &tid, &fresh, BPF_ANY);
}

/*
 * The scheduler itself adds up how long each thread waited for a CPU (kernel/sched/stats.h). What a
 * thread's sum grew by since it last left its CPU is the wait before this turn: no program at each wakeup,
 * no clock. It shows when the turn ends. Most switches of a host are not ours: one comparison tells.
 */
SEC("tp_btf/sched_switch")
int BPF_PROG(thread_leaves, bool preempt, struct task_struct *prev)
{
	struct thread *thread;
	__u64 turns, waited;
	__u32 tid;

	if (prev->tgid != gateway_tgid)
		return 0;
	tid = prev->pid;
	thread = bpf_map_lookup_elem(&threads, &tid);
	if (!thread)
		return 0;
	turns = prev->sched_info.pcount;
	/* The turn in which it was first watched is not measured. */
	if (turns == thread->turns)
		return 0;
	waited = prev->sched_info.run_delay;
	hist_record(&runqueue_seconds, 0, waited - thread->waited);
	thread->turns = turns;
	thread->waited = waited;
	return 0;
}

SEC("tp_btf/softirq_entry")
int BPF_PROG(net_rx_begins, unsigned int vector)
{
	struct moment *now;

	if (vector != NET_RX_SOFTIRQ)
		return 0;
	now = this_moment();
	if (!now)
		return 0;
	now->begun = due(&now->softirqs) ? bpf_ktime_get_ns() : 0;
	now->polled = now->begun;
	now->ours = 0;
	return 0;
}

/*
 * Fires when a poll is over; nothing fires when it begins. It began when the one before it ended, or with the
 * softirq. Busy polling and polling threads have no softirq around them: there only packets are counted.
 */
SEC("tp_btf/napi_poll")
int BPF_PROG(napi_polled, struct napi_struct *napi, int work, int budget)
{
	struct moment *softirq = this_moment();
	struct napi_counts *counts;
	__u64 begun = 0, now = 0;
	__u32 *interface;

	if (softirq && softirq->begun) {
		now = bpf_ktime_get_ns();
		begun = softirq->polled;
		softirq->polled = now;
	}
	interface = find_interface(napi->dev);
	if (!interface)
		return 0;
	if (softirq)
		softirq->ours = 1;
	if (!measure_napi_poll)
		return 0;
	if (begun)
		hist_sample(&napi_poll_seconds, 0, now - begun, sample_bits);
	counts = bpf_map_lookup_elem(&napi_total, interface);
	if (!counts)
		return 0;
	/* Polls do not interrupt each other on a CPU, so nothing comes between a load and its store. */
	counts->polls++;
	counts->packets += work > 0 ? work : 0;
	if (work >= budget)
		counts->exhausted++;
	return 0;
}

SEC("tp_btf/softirq_exit")
int BPF_PROG(net_rx_ends, unsigned int vector)
{
	struct moment *softirq;

	if (vector != NET_RX_SOFTIRQ)
		return 0;
	softirq = this_moment();
	if (!softirq || !softirq->begun)
		return 0;
	if (measure_softirq && softirq->ours)
		hist_sample(&softirq_seconds, 0, bpf_ktime_get_ns() - softirq->begun, sample_bits);
	softirq->begun = 0;
	return 0;
}

SEC("tp_btf/xdp_redirect_err")
int BPF_PROG(redirect_failed, struct net_device *dev, void *program, void *target, int error)
{
	__u32 *interface = find_interface(dev);

	if (interface)
		count(&redirect_errors_total, *interface, -error);
	return 0;
}

SEC("tp_btf/xdp_exception")
int BPF_PROG(xdp_excepted, struct net_device *dev, void *program, __u32 action)
{
	__u32 *interface = find_interface(dev);

	if (interface)
		count(&xdp_exceptions_total, *interface, action);
	return 0;
}

/* Attached to io_uring_submit_req, or to io_uring_submit_sqe where it is called so (before Linux 6.4). */
SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(request_begins, struct io_kiocb *req)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct request *request;
	struct moment *now;
	__u32 tid = id;

	if (id >> 32 != gateway_tgid)
		return 0;
	request = place_of(req);
	now = this_moment();
	if (!request || !now)
		return 0;
	/* First, so that a completion does not find the time of who had this place, or this memory, before. */
	*(volatile __u64 *)&request->address = 0;
	if (!due(&now->requests) || !bpf_map_lookup_elem(&threads, &tid))
		return 0;
	request->submitted = bpf_ktime_get_ns();
	request->opcode = req->opcode;
	*(volatile __u64 *)&request->address = (__u64)req;
	return 0;
}

/*
 * The first two arguments are all that kernels agree on here. The notification of a zero-copy send is a
 * request of its own that nobody submitted, and so is left out: what counts is the send's own completion.
 */
SEC("tp_btf/io_uring_complete")
int BPF_PROG(request_ends, void *ring, void *req)
{
	struct request *request = place_of(req);
	__u64 opcode, seen;

	if (!request || !req || request->address != (__u64)req)
		return 0;
	opcode = request->opcode < OPCODES ? request->opcode : OPCODES - 1;
	hist_sample(&io_uring_seconds, opcode, bpf_ktime_get_ns() - request->submitted, sample_bits);
	seen = 1ULL << opcode;
	if (!(opcodes_seen & seen))
		__sync_fetch_and_or(&opcodes_seen, seen);
	request->address = 0;
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_changes, struct sock *sk, int before, int after)
{
	__u64 key = (__u64)sk, now, *begun;

	if (after == TCP_SYN_SENT) {
		if (!is_sink(sk))
			return 0;
		now = bpf_ktime_get_ns();
		bpf_map_update_elem(&connecting, &key, &now, BPF_ANY);
		return 0;
	}
	if (before != TCP_SYN_SENT)
		return 0;
	begun = bpf_map_lookup_elem(&connecting, &key);
	if (!begun)
		return 0;
	if (after == TCP_ESTABLISHED)
		hist_record(&tcp_connect_seconds, 0, bpf_ktime_get_ns() - *begun);
	bpf_map_delete_elem(&connecting, &key);
	return 0;
}

/* Fires for each segment that comes in on an established connection. */
SEC("tp_btf/tcp_probe")
int BPF_PROG(segment_comes, struct sock *sk)
{
	struct moment *now = this_moment();
	__u32 srtt;

	if (!now || !due(&now->segments) || !is_sink(sk))
		return 0;
	/* The kernel keeps eighths of microseconds (include/linux/tcp.h). 0 is a connection not measured yet. */
	srtt = BPF_CORE_READ((struct tcp_sock *)sk, srtt_us) >> 3;
	if (srtt)
		hist_sample(&tcp_rtt_seconds, 0, (__u64)srtt * 1000, sample_bits);
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(segment_again, struct sock *sk)
{
	__u32 zero = 0;
	__u64 *n;

	if (!is_sink(sk))
		return 0;
	n = bpf_map_lookup_elem(&retransmits_total, &zero);
	if (n)
		__sync_fetch_and_add(n, 1);
	return 0;
}

/*
 * A packet that waits at a UDP socket has other things where its device was (dev_scratch,
 * include/linux/skbuff.h). Such a pointer reads as 0 and finds nothing; then the socket tells the namespace,
 * where the kernel gives it.
 */
SEC("tp_btf/kfree_skb")
int BPF_PROG(packet_dropped, struct sk_buff *skb, void *location, __u32 reason)
{
	__u32 *interface;

	if (!reason || reason == drop_consumed)
		return 0;
	interface = find_interface(skb->dev);
	if (!interface && drop_has_socket) {
		struct sock *sk = (struct sock *)ctx[3];
		struct interface_key key = {};

		if (!sk)
			return 0;
		key.netns = sk->__sk_common.skc_net.net->ns.inum;
		key.ifindex = skb->skb_iif;
		interface = bpf_map_lookup_elem(&interfaces, &key);
	}
	if (interface)
		count(&packet_drops_total, *interface, reason);
	return 0;
}

/* Only tests load this: what hist_slot says of their argument. */
SEC("raw_tp/sched_wakeup")
int try_hist_slot(struct bpf_raw_tracepoint_args *ctx)
{
	return hist_slot(ctx->args[0]);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
