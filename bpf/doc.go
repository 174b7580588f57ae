// Package bpf holds the kernel programs and their Go handles, nothing else.
//
//	steer.bpf.c  XDP: chooses the telemetry packets, stamps them, hands them to the AF_XDP sockets
//	culvert.h    what crosses to Go; package abi says the same without importing anything
//	steer.go     Steer: one interface's program and maps
//	probe.bpf.c  tracepoints: what user space cannot see of scheduling, NAPI, io_uring, TCP and drops
//	kernel.h     the kernel's structures that they read
//	hist.h       histograms that the probes count in; histogram.go says the same in Go
//	probe.go     Probes: the programs on the tracepoints; measure.go reads what they counted
//
// To share an interface with libxdp's programs there are dispatcher.bpf.c and dispatcher.go: a dispatcher by
// its protocol, and Joint, a program for a slot of one, which hands packets to the steering program.
//
// The compiled objects are committed, so that building the gateway needs Go alone. Attaching a program to an
// interface is not done here but in controlplane/attach.
package bpf

//go:generate -command bpf go tool bpf2go -cc clang-14 -target bpfel -tags linux
//go:generate bpf steer steer.bpf.c -- -O2 -g -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu
//go:generate bpf probe probe.bpf.c -- -O2 -g -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu
//go:generate bpf dispatcher dispatcher.bpf.c -- -O2 -g -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu
