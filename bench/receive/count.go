package receive

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"culvert/dataplane/udp"
	"culvert/numa"
)

const (
	// socketSlots is how many datagrams one call takes, as the gateway's sockets do at most.
	socketSlots = 64
	// socketBuffer is asked of the kernel for what comes while the thread does not look: as much as the
	// gateway asks for its own.
	socketBuffer = 16 << 20
)

// Count receives on a UDP port with recvmmsg and counts, one thread for each CPU, each with a socket of its
// own among which the kernel deals the flows out. It runs until the context ends.
func Count(ctx context.Context, port uint16, cpus []int, tallies Tallies) error {
	ended := make(chan error, len(cpus))
	for i, cpu := range cpus {
		go func() {
			// Never unlocked: the thread is pinned and ends with this goroutine.
			runtime.LockOSThread()
			ended <- countSocket(ctx, port, cpu, &tallies[i])
		}()
	}
	var first error
	for range cpus {
		if err := <-ended; err != nil && first == nil {
			first = err
		}
	}
	return first
}

func countSocket(ctx context.Context, port uint16, cpu int, tally *Tally) error {
	if err := numa.Pin(cpu); err != nil {
		return err
	}
	memory, err := numa.Alloc(udp.MemorySize(socketSlots), -1, numa.HugeAuto)
	if err != nil {
		return err
	}
	defer memory.Close()
	socket, err := udp.Open(udp.Config{
		Port: port, Memory: memory.Bytes(), ReceiveBuffer: socketBuffer, ReusePort: true,
	})
	if err != nil {
		return err
	}
	defer socket.Close()
	datagrams := make([]udp.Datagram, socketSlots)
	poll := []unix.PollFd{{Fd: int32(socket.FD()), Events: unix.POLLIN}}
	idleSince := time.Now()
	for ctx.Err() == nil {
		n, err := socket.Receive(datagrams)
		if err != nil {
			return err
		}
		if n > 0 {
			bytes := uint64(0)
			for i := range datagrams[:n] {
				bytes += uint64(len(datagrams[i].Payload))
			}
			tally.add(uint64(n), bytes)
			idleSince = time.Now()
			continue
		}
		if time.Since(idleSince) > spinTime {
			if err := nap(poll); err != nil {
				return err
			}
			idleSince = time.Now()
		}
	}
	return nil
}
