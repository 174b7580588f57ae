// Package nic knows a network card from outside: what its driver offers, its channels, rings and offloads, by
// what it chooses a packet's queue, and where its interrupts go. It reads and it sets, each setting by one
// message, and decides nothing.
//
//	ethtool (generic netlink) ─▶ Channels, Rings, Features           ─▶ Set…
//	ethtool (ioctl)           ─▶ HashFields, Indirection, RuleTable  ─▶ Set…, InsertRule, DeleteRule
//	/sys, /proc               ─▶ Interrupts, Members
//
// What it reads from files it reads below a root, which in tests is a directory of testdata. What it asks the
// kernel it asks in the network namespace of the calling thread. Reading takes no privilege; setting takes
// CAP_NET_ADMIN, and CAP_DAC_OVERRIDE or root for interrupts.
package nic
