// Package testenv says what a test needs of the machine and skips, or fails, when it is not there.
//
// With CULVERT_REQUIRE_PRIV=1 nothing may be skipped: a test that could not run is a failure. Without it a
// skip names the missing thing.
package testenv

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Need skips the test unless the process holds all of these capabilities (unix.CAP_…). Every test named
// TestPriv… calls it first.
func Need(t testing.TB, capabilities ...uint) {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		t.Fatalf("read this process's capabilities: %v", err)
	}
	for _, capability := range capabilities {
		if sets[capability/32].Effective&(1<<(capability%32)) == 0 {
			Skip(t, "capability "+capabilityName(capability)+" is missing (run as root)")
		}
	}
}

// Skip skips the test with the name of what is missing; with CULVERT_REQUIRE_PRIV=1 it fails it instead.
func Skip(t testing.TB, missing string) {
	t.Helper()
	if os.Getenv("CULVERT_REQUIRE_PRIV") == "1" {
		t.Fatalf("CULVERT_REQUIRE_PRIV=1 and %s", missing)
	}
	t.Skip(missing)
}

// Sized is full, or small where a suite asks for it (CULVERT_TEST_SMALL=1): on an emulated machine and under
// the race detector a test takes many times as long, and what it proves does not hang on how much it does.
func Sized[T any](full, small T) T {
	if os.Getenv("CULVERT_TEST_SMALL") == "1" {
		return small
	}
	return full
}

// Kernel is the running kernel's version.
func Kernel() (major, minor int) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return 0, 0
	}
	parts := strings.SplitN(unix.ByteSliceToString(name.Release[:]), ".", 3)
	if len(parts) < 2 {
		return 0, 0
	}
	major, _ = strconv.Atoi(parts[0])
	minor, _ = strconv.Atoi(strings.FieldsFunc(parts[1], func(r rune) bool { return r < '0' || r > '9' })[0])
	return major, minor
}

// AtLeast tells whether the running kernel is this version or newer. A test of a feature that came later asks
// it and says so; on a kernel new enough an absent feature is a failure.
func AtLeast(major, minor int) bool {
	m, n := Kernel()
	return m > major || m == major && n >= minor
}

func capabilityName(capability uint) string {
	names := map[uint]string{
		unix.CAP_NET_ADMIN: "CAP_NET_ADMIN", unix.CAP_NET_RAW: "CAP_NET_RAW", unix.CAP_BPF: "CAP_BPF",
		unix.CAP_SYS_ADMIN: "CAP_SYS_ADMIN", unix.CAP_IPC_LOCK: "CAP_IPC_LOCK",
		unix.CAP_PERFMON: "CAP_PERFMON",
	}
	if name, ok := names[capability]; ok {
		return name
	}
	return strconv.FormatUint(uint64(capability), 10)
}
