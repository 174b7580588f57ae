package testenv

import (
	"bytes"
	"os"
	"testing"
)

// HasCardTimes tells whether this kernel has the function by which XDP programs ask drivers when the card got
// a packet (Linux 6.3).
func HasCardTimes(t *testing.T) bool {
	t.Helper()
	symbols, err := os.ReadFile("/proc/kallsyms")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(symbols, []byte(" bpf_xdp_metadata_rx_timestamp\n"))
}
