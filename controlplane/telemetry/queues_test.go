package telemetry

import (
	"maps"
	"testing"
)

// Goal: the sockets of one queue are one series in metrics, and adding them up changes nothing that the
// snapshot holds.
func TestWholeQueues(t *testing.T) {
	drops := func(full, dropped uint64) map[string]uint64 {
		return map[string]uint64{"ring_full": full, "fill_ring_empty": dropped}
	}
	sockets := []Queue{
		{Queue: 0, FramesReceived: 1, Drops: drops(1, 2), Raw: drops(3, 4)},
		{Queue: 0, Socket: 1, FramesReceived: 10, Drops: drops(10, 20), Raw: drops(30, 40)},
		{Queue: 0, Socket: 2, FramesReceived: 100, Drops: drops(100, 200), Raw: drops(300, 400)},
		{Queue: 1, FramesReceived: 7, Drops: drops(0, 7)},
	}
	got := wholeQueues(sockets)
	if len(got) != 2 || got[0].FramesReceived != 111 || got[1].FramesReceived != 7 ||
		!maps.Equal(got[0].Drops, drops(111, 222)) || !maps.Equal(got[0].Raw, drops(333, 444)) ||
		!maps.Equal(got[1].Drops, drops(0, 7)) {
		t.Fatalf("%+v", got)
	}
	if sockets[0].FramesReceived != 1 || !maps.Equal(sockets[0].Drops, drops(1, 2)) {
		t.Fatalf("the snapshot changed: %+v", sockets[0])
	}
}
