package bpf

import (
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"culvert/bpf/abi"
	"culvert/scripts/testenv"
)

// benchmarkSteer measures the program alone, in the kernel, by BPF_PROG_TEST_RUN. Its own cost, which the
// benchmark "harness" shows, is in every figure. It gives the same packet again and again without taking the
// metadata off, so that a steered packet's figure lacks the last step, 32 bytes written, from the second one
// on.
func benchmarkSteer(b *testing.B, program *ebpf.Program, packet []byte) {
	const repeat = 1_000_000
	best := time.Duration(math.MaxInt64)
	for b.Loop() {
		_, each, err := program.Benchmark(packet, repeat, nil)
		if err != nil {
			b.Fatal(err)
		}
		best = min(best, each)
	}
	b.ReportMetric(float64(best.Nanoseconds()), "ns/packet")
	b.ReportMetric(0, "ns/op")
}

func BenchmarkSteer(b *testing.B) {
	plain := []Listener{{ID: 7, Port: ourPort, Addresses: []netip.Addr{ourV4, ourV6}}}
	ruled := []Listener{{ID: 7, Port: ourPort, Addresses: []netip.Addr{ourV4, ourV6},
		Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")},
		Tenants: []TenantPrefix{
			{netip.MustParsePrefix("10.2.0.0/16"), 1}, {netip.MustParsePrefix("10.3.0.0/16"), 2},
		},
	}}
	otherLimit := []TenantLimit{{Tenant: 2, PacketsPerSecond: 1}}
	wideTenant := []TenantLimit{{Tenant: 1, PacketsPerSecond: 1e9}}
	wideSource := []TenantLimit{{Tenant: 1, SourcePacketsPerSecond: 1e9}}
	for _, c := range []struct {
		name      string
		listeners []Listener
		frame     frame
		want      abi.Verdict
		limits    []TenantLimit
	}{
		{"steered/v4", plain, telemetry4(), abi.Redirected, nil},
		{"steered/v6", plain, telemetry6(), abi.Redirected, nil},
		{"steered/v4_vlan", plain, telemetry4().with(func(f *frame) { f.tags = []uint16{0x8100} }),
			abi.Redirected, nil},
		{"steered/v4_sources_tenants", ruled, telemetry4(), abi.Redirected, nil},
		{"steered/v4_others_limited", ruled, telemetry4(), abi.Redirected, otherLimit},
		{"steered/v4_tenant_limit", ruled, telemetry4(), abi.Redirected, wideTenant},
		{"steered/v4_source_limit", ruled, telemetry4(), abi.Redirected, wideSource},
		{"passed/tcp", plain, telemetry4().with(func(f *frame) { f.protocol = 6 }), abi.NotUDP, nil},
		{"passed/arp", plain, telemetry4().with(func(f *frame) { f.etherType = 0x0806 }), abi.NotIP, nil},
		{"passed/other_mac", plain, telemetry4().with(func(f *frame) { f.to = otherMAC }), abi.OtherMAC, nil},
		{"passed/other_port", plain, telemetry4().with(func(f *frame) { f.port = 53 }), abi.NotOurs, nil},
		{"dropped/malformed", plain, telemetry4().with(func(f *frame) { f.udpLength = 3 }), abi.Malformed,
			nil},
	} {
		b.Run(c.name, func(b *testing.B) {
			s, packet := newSteer(b, c.listeners...), c.frame.bytes()
			check(b, s.SetListeners(c.listeners, c.limits...))
			expect(b, s, packet, c.want)
			benchmarkSteer(b, s.Program(), packet)
		})
	}
	b.Run("dropped/tenant_limit", func(b *testing.B) {
		s, f := newSteer(b, ruled...), telemetry4()
		check(b, s.SetListeners(ruled, TenantLimit{Tenant: 1, PacketsPerSecond: 1, Burst: 1}))
		expect(b, s, f.bytes(), abi.Redirected)
		benchmarkSteer(b, s.Program(), f.bytes())
		counts, err := s.Limited(TenantsMax)
		check(b, err)
		if counts[1] < 1_000_000 {
			b.Fatalf("%d packets were limited", counts[1])
		}
	})
	b.Run("passed/off", func(b *testing.B) {
		s, f := newSteer(b, plain...), telemetry4()
		check(b, s.SetRedirect(false))
		expect(b, s, f.bytes(), abi.Off)
		benchmarkSteer(b, s.Program(), f.bytes())
	})
}

// BenchmarkHarness is what the figures of BenchmarkSteer contain beside the program: a program that does
// nothing, and one that only reads the clock, whose cost depends on the machine most.
func BenchmarkHarness(b *testing.B) {
	testenv.Need(b, unix.CAP_BPF, unix.CAP_NET_ADMIN)
	pass := asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()}
	for name, instructions := range map[string]asm.Instructions{
		"nothing": pass, "clock": append(asm.Instructions{asm.FnKtimeGetNs.Call()}, pass...),
	} {
		b.Run(name, func(b *testing.B) {
			program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
				Type: ebpf.XDP, License: "GPL", Instructions: instructions,
			})
			check(b, err)
			defer program.Close()
			f := telemetry4()
			benchmarkSteer(b, program, f.bytes())
		})
	}
}
