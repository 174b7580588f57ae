package bpf

import (
	"net/netip"
	"testing"
	"time"

	"culvert/bpf/abi"
)

// benchmarkSteer measures the program alone, in the kernel, by BPF_PROG_TEST_RUN. The packets it redirects
// are given anew each time, so the figure includes what the kernel does to reset the packet.
func benchmarkSteer(b *testing.B, s *Steer, f frame, want abi.Verdict) {
	packet := f.bytes()
	expect(b, s, packet, want)
	_, perRun, err := s.Program().Benchmark(packet, 1, nil)
	if err != nil {
		b.Fatal(err)
	}
	_ = perRun
	const repeat = 1_000_000
	var total time.Duration
	runs := 0
	for b.Loop() {
		_, each, err := s.Program().Benchmark(packet, repeat, nil)
		if err != nil {
			b.Fatal(err)
		}
		total += each
		runs++
	}
	b.ReportMetric(float64(total.Nanoseconds())/float64(runs), "ns/packet")
	b.ReportMetric(0, "ns/op")
}

func BenchmarkSteer(b *testing.B) {
	plain := []Listener{{ID: 7, Port: ourPort, Addresses: []netip.Addr{ourV4, ourV6}}}
	ruled := []Listener{{ID: 7, Port: ourPort, Addresses: []netip.Addr{ourV4, ourV6},
		Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")},
		Tenants: []TenantPrefix{{netip.MustParsePrefix("10.2.0.0/16"), 1}, {netip.MustParsePrefix("10.3.0.0/16"), 2}},
	}}
	for _, c := range []struct {
		name      string
		listeners []Listener
		frame     frame
		want      abi.Verdict
	}{
		{"steered/v4", plain, telemetry4(), abi.Redirected},
		{"steered/v6", plain, telemetry6(), abi.Redirected},
		{"steered/v4_vlan", plain, telemetry4().with(func(f *frame) { f.tags = []uint16{0x8100} }), abi.Redirected},
		{"steered/v4_sources_tenants", ruled, telemetry4(), abi.Redirected},
		{"passed/tcp", plain, telemetry4().with(func(f *frame) { f.protocol = 6 }), abi.NotUDP},
		{"passed/arp", plain, telemetry4().with(func(f *frame) { f.etherType = 0x0806 }), abi.NotIP},
		{"passed/other_mac", plain, telemetry4().with(func(f *frame) { f.to = otherMAC }), abi.OtherMAC},
		{"passed/other_port", plain, telemetry4().with(func(f *frame) { f.port = 53 }), abi.NotOurs},
		{"dropped/malformed", plain, telemetry4().with(func(f *frame) { f.udpLength = 3 }), abi.Malformed},
	} {
		b.Run(c.name, func(b *testing.B) { benchmarkSteer(b, newSteer(b, c.listeners...), c.frame, c.want) })
	}
	b.Run("passed/off", func(b *testing.B) {
		s := newSteer(b, plain...)
		check(b, s.SetRedirect(false))
		benchmarkSteer(b, s, telemetry4(), abi.Off)
	})
}
