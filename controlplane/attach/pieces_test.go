package attach

import "testing"

// Goal: releases are compared by number, whatever stands behind them.
func TestSince(t *testing.T) {
	f := func(release string, want bool) {
		t.Helper()
		if got := since(release, 6, 6); got != want {
			t.Fatalf("%q is at least 6.6: %t, want %t", release, got, want)
		}
	}
	f("6.1.0-43-amd64", false)
	f("6.5.13", false)
	f("5.15.0", false)
	f("6.6.0-rc1", true)
	f("6.12.9+deb13-amd64", true)
	f("7.0-next", true)
	f("unknown", false)
}

// Goal: packets come in pieces exactly where the MTU, Ethernet header and two tags exceed a frame's room.
func TestJumbo(t *testing.T) {
	if Jumbo(1500, 1792) || Jumbo(1770, 1792) || !Jumbo(1771, 1792) || Jumbo(3818, 3840) ||
		!Jumbo(9000, 3840) {
		t.Fatal("the edge is elsewhere")
	}
}
