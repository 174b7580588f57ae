// Package xsk is AF_XDP: sockets that receive and send packets in memory shared with the kernel.
//
//	            fill ring                      RX ring
//	free ─Free─▶ frames to receive into ─NIC─▶ packets ─Receive─▶ the worker ─Free─▶ …
//	  ▲                                                             │
//	  └─ReapCompletions── completion ring ◀─NIC── TX ring ◀─Transmit┘
//
// The memory (UMEM) is cut into frames of one size. A frame has one holder at a time, and the methods named
// in the picture are the only transitions: Free gives it to the kernel, Receive gives it to the worker,
// Transmit to the kernel, ReapCompletions puts it on the free list, Allocate takes it from there.
//
// A Socket serves one queue of one interface and has its own UMEM. Others may join it on that queue, each
// with its own worker and RX ring: one owns the fill ring, and the others give frames back through it.
//
//	joined socket ─Free─▶ its return ring ─TakeReturns─▶ the first socket's fill ring
//
// A Socket belongs to the thread that opened it, except for FD, ZeroCopy and Statistics. The package loads no
// XDP program and knows no map: the owner of both puts the socket's descriptor into the XSKMAP after Open.
package xsk
