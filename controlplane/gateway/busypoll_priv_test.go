package gateway

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"culvert/controlplane/telemetry"
	"culvert/dataplane"
)

// Goal: busy polling loses nothing, whatever comes of its trial, and the status says what that is. Method:
// more packets than the trial takes, over a veth, whose receive path runs on the sender's CPU unless polling
// takes it over; then the same after a link that went down and up, where the trial begins anew.
func TestPrivBusyPoll(t *testing.T) {
	if inOwnNamespace(t) {
		pollUnder(t, "0", "0")
	}
}

// Goal: the same with the settings of the interface that it asks for.
func TestPrivBusyPollDeferred(t *testing.T) {
	if inOwnNamespace(t) {
		pollUnder(t, "2", "200000")
	}
}

// pollUnder runs in a process of its own, since a gateway leaves few CPUs to the next one in it.
func pollUnder(t *testing.T, deferrals, flush string) {
	t.Helper()
	b := newBench(t, 0, `
interfaces: [{name: gw0, mode: native, busy_poll: {budget: 32, usecs: 50}}]
workers: {frames: 512, wait: busy}
rules: {files: [rules.yaml]}`)
	b.set("napi_defer_hard_irqs", deferrals)
	b.set("gro_flush_timeout", flush)
	if in := telemetry.NewStatus(b.gateway.Snapshot()).Interfaces[0]; !in.BusyPoll {
		t.Fatalf("%+v", in)
	}
	sent := b.judged(0)
	b.flap()
	sent = b.judged(sent)
	b.settled(sent)
}

// set writes one setting of the interface, as culvert tune does. /sys shows the interfaces of the namespace
// that it was mounted in, so it is mounted anew, for one thread.
func (b *bench) set(name, value string) {
	b.t.Helper()
	done := make(chan error)
	go func() {
		// Never unlocked: the thread's mounts are its own and end with it.
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, "")
		}
		if err == nil {
			err = unix.Mount("sysfs", "/sys", "sysfs", 0, "")
		}
		if err == nil {
			err = os.WriteFile("/sys/class/net/gw0/"+name, []byte(value), 0o644)
		}
		done <- err
	}()
	if err := <-done; err != nil {
		b.t.Fatal(err)
	}
}

// judged sends until the trial is over, which does not count what came while the worker did something else,
// and checks that the status says what came of it.
func (b *bench) judged(sent uint64) uint64 {
	b.t.Helper()
	var state dataplane.PollState
	var share int
	// What comes before the sockets are bound, or while the worker shows no life, comes by the kernel.
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		sent = b.flood(sent, 2, 5000)
		b.gateway.mutex.Lock()
		state, share = b.gateway.interfaces[0].queues[0].queue.Polling()
		b.gateway.mutex.Unlock()
		if state != dataplane.PollTrying {
			break
		}
	}
	b.gateway.mutex.Lock()
	polls, why := b.gateway.interfaces[0].polled()
	b.gateway.mutex.Unlock()
	b.t.Logf("state %d, %d %% by polling: %q", state, share, why)
	if state != dataplane.PollOn && state != dataplane.PollUseless || polls != (state == dataplane.PollOn) ||
		polls == strings.Contains(why, fmt.Sprintf("%d %%", share)) {
		b.t.Fatalf("busy polling: state %d, %t, %q: %+v", state, polls, why,
			telemetry.NewStatus(b.gateway.Snapshot()).Packets)
	}
	if in := telemetry.NewStatus(b.gateway.Snapshot()).Interfaces[0]; in.BusyPoll != polls {
		b.t.Fatalf("%+v", in)
	}
	return sent
}
