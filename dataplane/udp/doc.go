// Package udp reads datagrams from the kernel's own sockets: the slow path beside AF_XDP, and `mode:
// socket`.
//
//	kernel socket ──recvmmsg──▶ slots in memory handed in ──cut──▶ Datagrams, borrowed until the next call
//
//	slot  │ sender │ control messages │ up to 64 KiB of payload: one datagram, or several joined by GRO │
//
// One system call fills many slots, and GRO lets one slot hold a row of datagrams of one flow, which
// Receive cuts apart again. One socket serves IPv4 and IPv6; addresses are always 16 bytes, IPv4 as
// ::ffff:a.b.c.d.
//
// It waits for nothing: who reads it polls FD. It decides nothing about a datagram either; destination,
// sender and the mark of a cut one are told, and the worker judges.
package udp
